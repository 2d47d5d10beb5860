-- How wide the columns of tables and of indexes are on average: what a row needs, and so the whole.
SELECT
    a.attrelid::bigint AS relation,
    a.attlen AS length,
    CASE a.attalign WHEN 'c' THEN 1 WHEN 's' THEN 2 WHEN 'i' THEN 4 ELSE 8 END AS alignment,
    s.avg_width AS width,
    s.null_frac::float8 AS nulls
FROM pg_attribute AS a
JOIN pg_class AS c ON c.oid = a.attrelid
LEFT JOIN pg_index AS i ON i.indexrelid = c.oid
-- The statistics of an index's column are those of the table's; but an expression's are the index's own.
LEFT JOIN pg_attribute AS k ON k.attrelid = i.indrelid AND k.attnum = i.indkey[a.attnum - 1] AND k.attnum <> 0
JOIN pg_class AS t ON t.oid = coalesce(k.attrelid, c.oid)
JOIN pg_namespace AS n ON n.oid = t.relnamespace
LEFT JOIN pg_stats AS s
    ON s.schemaname = n.nspname AND s.tablename = t.relname AND s.attname = coalesce(k.attname, a.attname)
    AND NOT s.inherited
WHERE a.attrelid = ANY(%(relations)s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum
