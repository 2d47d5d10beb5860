-- Why the partition %(relation)s could be detached and then not be dropped, or be neither.
select format('it belongs to %%s, and not to %%s', pg_get_userbyid(relowner), current_user)
from pg_class
where oid = %(relation)s::oid and not pg_has_role(relowner, 'usage')

union all
select distinct format('%%s depends on it', pg_describe_object('pg_class'::regclass, r.ev_class, 0))
from pg_depend as d
join pg_rewrite as r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
where d.refclassid = 'pg_class'::regclass and d.refobjid = %(relation)s::oid and r.ev_class <> d.refobjid

union all
select distinct format('a foreign key of %%s refers to it', conrelid::regclass)
from pg_constraint
where contype = 'f' and confrelid = %(relation)s::oid
