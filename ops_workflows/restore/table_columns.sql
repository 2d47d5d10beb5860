-- The columns of a table as another database can make them: by themselves, without defaults, which lean on sequences and
-- functions, and with generated ones as plain columns. Run with an empty search_path, so that each type is qualified.
SELECT
    a.attname::text AS name,
    concat_ws(' ',
        format_type(a.atttypid, a.atttypmod),
        CASE WHEN a.attcollation <> t.typcollation THEN 'COLLATE ' || quote_ident(n.nspname) || '.' || quote_ident(c.collname) END,
        CASE WHEN a.attnotnull THEN 'NOT NULL' END
    ) AS definition
FROM pg_attribute AS a
JOIN pg_type AS t ON t.oid = a.atttypid
LEFT JOIN pg_collation AS c ON c.oid = a.attcollation
LEFT JOIN pg_namespace AS n ON n.oid = c.collnamespace
WHERE a.attrelid = %(table)s::regclass AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
