-- What would take the moving of rows out of the default partition %(relation)s for their deletion.
select format('a foreign key of %%s refers to the log', conrelid::regclass)
from pg_constraint
where contype = 'f' and conparentid = 0 and confrelid in ('public.query_log'::regclass, %(relation)s::oid)

union all
select format('trigger %%s fires when rows are deleted', tgname)
from pg_trigger
where tgrelid = %(relation)s::oid and not tgisinternal and tgtype & 8 <> 0
