-- What the generated traffic does. Each statement is headed by its name, whether it reads or writes, and its share.

-- cached_calculation: read 42
select data from panchangam_cache where cache_key = %(cache_key)s and expires_at > now();

-- popular_places: read 10
select name, latitude, longitude, timezone, country from locations where is_popular order by name;

-- place_search: read 8
select name, country from locations where name ilike %(pattern)s order by name limit 10;

-- history: read 9
select query_type, date, response_time_ms, created_at
from query_log
where user_id = %(user_id)s
order by created_at desc
limit 20;

-- last_minutes: read 1
select count(*), avg(response_time_ms), avg(cache_hit::int)
from query_log
where created_at > now() - interval '5 minutes';

-- log_query: write 24
insert into query_log (
    user_id, query_type, latitude, longitude, date, timezone, calculation_system, response_time_ms, cache_hit
)
select %(user_id)s, %(query_type)s, latitude, longitude, current_date, timezone, 'amanta', %(milliseconds)s, %(hit)s
from locations
where id = %(location_id)s;

-- store_calculation: write 3
insert into panchangam_cache (
    cache_key, date, latitude, longitude, timezone, calculation_system, regional_variation, data
)
select format('panchangam:%%s:north_indian:purnimanta:%%s:%%s', d.date, l.latitude, l.longitude),
       d.date, l.latitude, l.longitude, l.timezone, 'purnimanta', 'north_indian',
       jsonb_build_object('date', d.date, 'vara', trim(to_char(d.date, 'Day')), 'computed_at', clock_timestamp())
from locations l, (select current_date + %(days)s::int) as d (date)
where l.id = %(location_id)s
on conflict (cache_key) do update set data = excluded.data, expires_at = excluded.expires_at;

-- record_login: write 2
update users set last_login = now() where id = %(user_id)s;

-- audit: write 1
insert into audit_log (user_id, action, entity_type, entity_id, ip_address, user_agent)
values (%(user_id)s, 'login', 'session', gen_random_uuid(), '192.0.2.1', 'traffic');
