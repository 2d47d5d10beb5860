-- What of a catalogue is not compared with what migrations make, and which tables are attached as partitions.
-- Run with an empty search_path, as the inventory is.

-- What an extension brought. Its tables are named as tables, for their columns and so on are left out with them.
WITH members AS (
    SELECT classid, objid FROM pg_depend WHERE deptype = 'e' AND refclassid = 'pg_extension'::regclass
)

SELECT 'object' AS kind, format('function %I.%I(%s)', n.nspname, f.proname, pg_get_function_identity_arguments(f.oid)) AS name
FROM members AS m
JOIN pg_proc AS f ON m.classid = 'pg_proc'::regclass AND f.oid = m.objid
JOIN pg_namespace AS n ON n.oid = f.pronamespace

UNION ALL
SELECT 'object', format('type %I.%I', n.nspname, t.typname)
FROM members AS m
JOIN pg_type AS t ON m.classid = 'pg_type'::regclass AND t.oid = m.objid
JOIN pg_namespace AS n ON n.oid = t.typnamespace

UNION ALL
SELECT 'object', format('schema %I', n.nspname)
FROM members AS m
JOIN pg_namespace AS n ON m.classid = 'pg_namespace'::regclass AND n.oid = m.objid

UNION ALL
SELECT 'table', format('%I.%I', n.nspname, c.relname)
FROM members AS m
JOIN pg_class AS c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid
JOIN pg_namespace AS n ON n.oid = c.relnamespace

UNION ALL
-- Which ranges there are depends on the day on which a file is run, and on what has been dropped since.
SELECT 'table', format('%I.%I', n.nspname, c.relname)
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relispartition AND EXISTS (
    SELECT FROM pg_partition_ancestors(c.oid) AS a (oid)
    JOIN pg_inherits AS h ON h.inhrelid = a.oid
    JOIN pg_partitioned_table AS p ON p.partrelid = h.inhparent
    WHERE p.partstrat = 'r' AND p.partdefid <> a.oid
)

UNION ALL
SELECT 'partition', format('%I.%I', n.nspname, c.relname)
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relispartition AND c.relkind NOT IN ('i', 'I')
