-- Months whose dropping was begun and not ended, and what their tables are called now, and whether they are in the log.
select
    m.month,
    m.relation::bigint,
    coalesce(c.relname, m.name),
    c.oid is not null as exists,
    h.inhrelid is not null as attached
from ops.query_log_months as m
left join pg_class as c
    on c.oid = m.relation and c.relkind = 'r' and c.relnamespace = 'public'::regnamespace
left join pg_inherits as h on h.inhrelid = c.oid and h.inhparent = 'public.query_log'::regclass
where m.dropped_at is null
order by m.month
