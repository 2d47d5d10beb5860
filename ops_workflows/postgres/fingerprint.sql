-- The tables whose rows a dump carries: permanent and unlogged ones, partitions each for itself. Not those of extensions,
-- which come from the machine that restores, and on a standby not the unlogged ones, which are empty there.
SELECT
    c.oid::bigint AS oid,
    n.nspname::text AS namespace,
    c.relname::text AS name,
    format('%I.%I', n.nspname, c.relname) AS quoted,
    -- By name: a child of an inheritance may come back with its columns in another order. Generated ones are no content.
    ARRAY(
        SELECT a.attname::text
        FROM pg_attribute AS a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
        ORDER BY a.attname::text COLLATE "C"
    ) AS columns,
    ARRAY(
        SELECT format('%I.%I', pn.nspname, p.relname)
        FROM pg_partition_ancestors(c.oid) AS ancestor (oid)
        JOIN pg_class AS p ON p.oid = ancestor.oid
        JOIN pg_namespace AS pn ON pn.oid = p.relnamespace
        WHERE p.oid <> c.oid
    ) AS partition_of,
    row_security_active(c.oid) AS hidden
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r'
    AND (c.relpersistence = 'p' OR (c.relpersistence = 'u' AND NOT pg_is_in_recovery()))
    AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND NOT EXISTS (
        SELECT FROM pg_depend AS d
        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
    )
ORDER BY 4
