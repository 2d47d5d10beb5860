-- Partitioned tables: how many rows lie in their partitions, and whether they were analyzed, which sets reltuples.
SELECT
    format('%I.%I', n.nspname, c.relname) AS name,
    c.reltuples >= 0 AS is_analyzed,
    (
        SELECT coalesce(
            sum(CASE WHEN leaf.reltuples >= 0 THEN leaf.reltuples ELSE pg_stat_get_live_tuples(leaf.oid) END), 0
        )::bigint
        FROM pg_partition_tree(c.oid) AS p
        JOIN pg_class AS leaf ON leaf.oid = p.relid
        WHERE p.isleaf AND leaf.relkind IN ('r', 'm')
    ) AS rows
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'p' AND c.relpersistence <> 't'
ORDER BY c.oid
