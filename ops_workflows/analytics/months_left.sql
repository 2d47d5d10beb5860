-- Months whose dropping was begun and not ended, and whether the partition is there, and where.
select
    m.month,
    m.relation::bigint,
    m.name,
    c.oid is not null as exists,
    h.inhrelid is not null as attached
from ops.query_log_months as m
left join pg_class as c on c.oid = m.relation and c.relname = m.name
left join pg_inherits as h on h.inhrelid = c.oid and h.inhparent = 'public.query_log'::regclass
where m.dropped_at is null
order by m.month
