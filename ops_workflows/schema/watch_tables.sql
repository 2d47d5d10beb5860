-- Tables and views with the file that each lies in and all its bytes; parameter: oids, or null for all.
SELECT c.oid::bigint, pg_catalog.format('%%I.%%I', n.nspname, c.relname),
    coalesce(pg_catalog.pg_relation_filenode(c.oid), 0)::bigint, coalesce(pg_catalog.pg_total_relation_size(c.oid), 0)
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
CROSS JOIN (SELECT %s::bigint[] AS oids) AS wanted
WHERE c.relkind IN ('r', 'p', 'm', 'v', 'f')
    AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'ops') AND c.relname <> 'schema_migrations'
    AND (wanted.oids IS NULL OR c.oid::bigint = ANY(wanted.oids))
