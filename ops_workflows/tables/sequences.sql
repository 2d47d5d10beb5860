-- Every sequence: how far it is, and the narrowest column that its numbers go into, whether that owns it or only takes
-- its default from it.
WITH filled AS (
    SELECT d.objid AS sequence, d.refobjid AS relation, d.refobjsubid AS attribute
    FROM pg_depend AS d
    JOIN pg_sequence AS q ON q.seqrelid = d.objid
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
        AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
    UNION
    SELECT q.seqrelid, f.adrelid, f.adnum
    FROM pg_depend AS d
    JOIN pg_attrdef AS f ON f.oid = d.objid
    JOIN pg_sequence AS q ON q.seqrelid = d.refobjid
    WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass
),

columns AS (
    SELECT
        f.sequence,
        format('%I.%I.%I', n.nspname, c.relname, a.attname) AS name,
        format_type(a.atttypid, a.atttypmod) AS type,
        CASE coalesce(nullif(t.typbasetype, 0), t.oid)
            WHEN 'int2'::regtype THEN 32767
            WHEN 'int4'::regtype THEN 2147483647
            WHEN 'int8'::regtype THEN 9223372036854775807
        END AS most,
        pg_stat_get_tuples_inserted(f.relation) AS inserted
    FROM filled AS f
    JOIN pg_class AS c ON c.oid = f.relation
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    JOIN pg_attribute AS a ON a.attrelid = f.relation AND a.attnum = f.attribute
    JOIN pg_type AS t ON t.oid = a.atttypid
),

narrowest AS (
    SELECT DISTINCT ON (sequence)
        sequence, name, type, most, (sum(inserted) OVER (PARTITION BY sequence))::bigint AS inserted
    FROM columns
    ORDER BY sequence, most NULLS LAST, name
)

SELECT
    format('%I.%I', s.schemaname, s.sequencename) AS name,
    has_sequence_privilege(q.seqrelid, 'usage, select') AS is_visible,
    s.last_value AS last,
    s.increment_by AS increment,
    s.min_value AS minimum,
    s.max_value AS maximum,
    s.cycle AS cycles,
    k.name AS column_name,
    k.type AS column_type,
    k.most AS column_most,
    coalesce(k.inserted, 0) AS inserted
FROM pg_sequence AS q
JOIN pg_class AS c ON c.oid = q.seqrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_sequences AS s ON s.schemaname = n.nspname AND s.sequencename = c.relname
LEFT JOIN narrowest AS k ON k.sequence = q.seqrelid
WHERE c.relpersistence <> 't'
ORDER BY q.seqrelid
