-- Everything that migrations make, as sorted lines of text without oids.
with kept as (select oid, nspname from pg_namespace where nspname in ('public', 'ops')),
own as (  -- what extensions brought is theirs
    select objid from pg_depend where deptype = 'e'
)
select 'relation', nspname, relname, relkind::text, relowner::regrole::text, coalesce(reloptions::text, ''),
       coalesce(pg_get_expr(relpartbound, c.oid), '') || ' ' || coalesce(relacl::text, '')
from pg_class c join kept n on n.oid = relnamespace
union all
select 'column', nspname, relname, attname, format_type(atttypid, atttypmod), attnotnull::text,
       coalesce(pg_get_expr(adbin, adrelid), '')
from pg_attribute a join pg_class c on c.oid = attrelid join kept n on n.oid = relnamespace
left join pg_attrdef on adrelid = attrelid and adnum = attnum
where attnum > 0 and not attisdropped
union all
select 'constraint', nspname, conrelid::regclass::text, conname, pg_get_constraintdef(c.oid), convalidated::text, ''
from pg_constraint c join kept n on n.oid = connamespace
union all
select 'index', nspname, indrelid::regclass::text, indexrelid::regclass::text, pg_get_indexdef(indexrelid),
       indisvalid::text, ''
from pg_index join pg_class c on c.oid = indexrelid join kept n on n.oid = relnamespace
union all
select 'trigger', nspname, relname, tgname, pg_get_triggerdef(t.oid), tgenabled::text, ''
from pg_trigger t join pg_class c on c.oid = tgrelid join kept n on n.oid = relnamespace where not tgisinternal
union all
select 'function', nspname, proname, prosrc, pg_get_function_arguments(p.oid), '', ''
from pg_proc p join kept n on n.oid = pronamespace where p.oid not in (select objid from own)
union all
select 'enum', nspname, typname, enumlabel, enumsortorder::text, '', ''
from pg_enum join pg_type t on t.oid = enumtypid join kept n on n.oid = typnamespace
union all
select 'extension', '', extname, extversion, '', '', '' from pg_extension
order by 1, 2, 3, 4, 5, 6, 7
