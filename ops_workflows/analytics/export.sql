-- The columns of %(table)s as PostgreSQL has them: name, type, and precision and scale where they are set.
select
    a.attname,
    t.typname,
    case when t.typname = 'numeric' and a.atttypmod >= 0 then ((a.atttypmod - 4) >> 16) & 65535 end,
    case when t.typname = 'numeric' and a.atttypmod >= 0 then (((a.atttypmod - 4) & 2047) # 1024) - 1024 end
from pg_attribute as a
join pg_type as t on t.oid = a.atttypid
where a.attrelid = %(table)s::regclass and a.attnum > 0 and not a.attisdropped
order by a.attnum
