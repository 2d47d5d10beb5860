-- The partitions of the query log with their bounds (null for the default one, or for one whose range is none of days that a clock shows).
select
    c.oid::bigint,
    c.relname,
    h.inhdetachpending,
    pg_get_expr(c.relpartbound, c.oid) = 'DEFAULT' as is_default,
    bounds[1]::timestamptz,
    bounds[2]::timestamptz,
    pg_total_relation_size(c.oid),
    greatest(c.reltuples, 0)::bigint
from pg_inherits as h
join pg_class as c on c.oid = h.inhrelid
left join lateral regexp_match(
    pg_get_expr(c.relpartbound, c.oid), $$^FOR VALUES FROM \('(\d{4}-[^'B]+)'\) TO \('(\d{4}-[^'B]+)'\)$$
) as found (bounds) on true
where h.inhparent = 'public.query_log'::regclass
order by bounds[1]::timestamptz nulls last, c.relname
