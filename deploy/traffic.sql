-- The application's traffic in small: `ops traffic` sends it, and migrations are rehearsed under it.
--
-- A sample is a pool of values, read once from the database at hand; %(name)s is one of them, drawn at random, and NULL
-- where the pool is empty. A statement is sent as often as its weight says, against the others. A percent sign is written
-- twice throughout.

-- sample: user_id
SELECT id FROM users LIMIT 1000;

-- sample: cache_key
SELECT cache_key FROM panchangam_cache LIMIT 1000;

-- sample: location_id
SELECT id FROM locations LIMIT 1000;

-- sample: pattern
SELECT unnest(ARRAY['%%pur%%', 'ban%%', '%%new%%', '%%ch%%', 'va%%']);

-- sample: query_type
SELECT unnest(ARRAY['daily_panchangam', 'tithi', 'sunrise_sunset', 'festival_calendar', 'nakshatra', 'muhurta']);

-- sample: days
SELECT generate_series(0, 29);

-- sample: hit
SELECT unnest(ARRAY[true, true, true, true, false]);

-- name: a cached calculation by its key
-- weight: 42
SELECT data FROM panchangam_cache WHERE cache_key = %(cache_key)s AND expires_at > now();

-- name: the popular places
-- weight: 10
SELECT name, latitude, longitude, timezone, country FROM locations WHERE is_popular ORDER BY name;

-- name: places by a part of their name
-- weight: 8
SELECT name, country FROM locations WHERE name ILIKE %(pattern)s ORDER BY name LIMIT 10;

-- name: a user's latest queries
-- weight: 9
SELECT query_type, date, response_time_ms, created_at
FROM query_log
WHERE user_id = %(user_id)s
ORDER BY created_at DESC
LIMIT 20;

-- name: how the last minutes went
-- weight: 1
SELECT count(*), avg(response_time_ms), avg(cache_hit::int)
FROM query_log
WHERE created_at > now() - interval '5 minutes';

-- name: a query is logged
-- weight: 24
-- What the cache has takes e^1.4 ms, anything else e^4.4 ms, both times a lognormal factor.
INSERT INTO query_log (
    user_id, query_type, latitude, longitude, date, timezone, calculation_system, response_time_ms, cache_hit
)
SELECT %(user_id)s, %(query_type)s, latitude, longitude, current_date, timezone, 'amanta',
       exp(CASE WHEN %(hit)s THEN 1.4 ELSE 4.4 END + 0.5 * sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random()))::int,
       %(hit)s
FROM locations
WHERE id = %(location_id)s;

-- name: a calculation is stored
-- weight: 3
INSERT INTO panchangam_cache (
    cache_key, date, latitude, longitude, timezone, calculation_system, regional_variation, data
)
SELECT format('panchangam:%%s:north_indian:purnimanta:%%s:%%s', d.date, l.latitude, l.longitude),
       d.date, l.latitude, l.longitude, l.timezone, 'purnimanta', 'north_indian',
       jsonb_build_object('date', d.date, 'vara', trim(to_char(d.date, 'Day')), 'computed_at', clock_timestamp())
FROM locations l, (SELECT current_date + %(days)s::int) AS d (date)
WHERE l.id = %(location_id)s
ON CONFLICT (cache_key) DO UPDATE SET data = excluded.data, expires_at = excluded.expires_at;

-- name: a login is noted
-- weight: 2
UPDATE users SET last_login = now() WHERE id = %(user_id)s;

-- name: an action is audited
-- weight: 1
INSERT INTO audit_log (user_id, action, entity_type, entity_id, ip_address, user_agent)
VALUES (%(user_id)s, 'login', 'session', gen_random_uuid(), '192.0.2.1', 'traffic');
