-- Every object of a database that a restore must bring back: what it is called, its full definition, and the ids of the
-- transactions that wrote, or are about to delete, the catalog rows which that is made from.
-- Who owns an object and who may use it is apart from its definition, in a row of its own: `rights on …`. Nothing in a
-- definition depends on the numbers that objects have in this one database.
-- Run with an empty search_path, so that each name inside a definition is qualified.
WITH spaces AS (
    SELECT oid, nspname, concat_ws(' ', xmin, xmax) AS writers
    FROM pg_namespace
    WHERE nspname !~ '^pg_(toast|temp|catalog)' AND nspname <> 'information_schema'
),

relations AS (
    SELECT c.oid, c.relkind, c.relpersistence, c.relacl, c.relowner, c.relispartition, c.relpartbound, c.relrowsecurity,
        c.relforcerowsecurity, format('%I.%I', s.nspname, c.relname) AS name,
        -- Of a sequence that belongs to a column, and goes with it.
        CASE WHEN t.oid IS NOT NULL THEN format('%I.%I', s.nspname, t.relname) END AS of_table,
        concat_ws(' ', s.writers, c.xmin, c.xmax, o.xmin, o.xmax, t.xmin, t.xmax) AS writers
    FROM pg_class AS c
    JOIN spaces AS s ON s.oid = c.relnamespace
    LEFT JOIN pg_depend AS o ON c.relkind = 'S' AND o.classid = 'pg_class'::regclass AND o.objid = c.oid AND o.objsubid = 0
        AND o.refclassid = 'pg_class'::regclass AND o.deptype IN ('a', 'i')
    LEFT JOIN pg_class AS t ON t.oid = o.refobjid
    WHERE c.relpersistence <> 't'
),

-- What has rights.
owned AS (
    SELECT format('schema %I', s.nspname) AS identity, n.nspowner AS owner, n.nspacl AS rights, s.writers
    FROM spaces AS s
    JOIN pg_namespace AS n ON n.oid = s.oid

    UNION ALL
    SELECT format('type %I.%I', s.nspname, t.typname), t.typowner, t.typacl, concat_ws(' ', s.writers, t.xmin, t.xmax)
    FROM pg_type AS t
    JOIN spaces AS s ON s.oid = t.typnamespace
    WHERE t.typtype IN ('e', 'd', 'r')

    UNION ALL
    SELECT CASE WHEN r.of_table IS NULL THEN format('relation %s', r.name) ELSE format('sequence %s on %s', r.name, r.of_table) END,
        r.relowner, r.relacl, r.writers
    FROM relations AS r
    WHERE r.relkind NOT IN ('i', 'I')

    UNION ALL
    SELECT format('function %I.%I(%s)', s.nspname, f.proname, pg_get_function_identity_arguments(f.oid)),
        f.proowner, f.proacl, concat_ws(' ', s.writers, f.xmin, f.xmax)
    FROM pg_proc AS f
    JOIN spaces AS s ON s.oid = f.pronamespace
)

SELECT 'extension ' || extname AS identity, extversion AS definition, concat_ws(' ', xmin, xmax) AS writers
FROM pg_extension

UNION ALL
SELECT 'rights on ' || identity, concat_ws(' ', pg_get_userbyid(owner), rights), writers
FROM owned

UNION ALL
SELECT format('schema %I', s.nspname), '', s.writers
FROM spaces AS s

UNION ALL
SELECT format('type %I.%I', s.nspname, t.typname),
    concat_ws(' ', t.typtype, format_type(t.typbasetype, t.typtypmod), t.typnotnull, t.typdefault,
        (SELECT string_agg(quote_literal(e.enumlabel), ',' ORDER BY e.enumsortorder) FROM pg_enum AS e WHERE e.enumtypid = t.oid)),
    concat_ws(' ', s.writers, t.xmin, t.xmax,
        (SELECT string_agg(concat_ws(' ', e.xmin, e.xmax), ' ') FROM pg_enum AS e WHERE e.enumtypid = t.oid))
FROM pg_type AS t
JOIN spaces AS s ON s.oid = t.typnamespace
WHERE t.typtype IN ('e', 'd', 'r')

UNION ALL
SELECT CASE WHEN r.of_table IS NULL THEN format('relation %s', r.name) ELSE format('sequence %s on %s', r.name, r.of_table) END,
    concat_ws(' ', r.relkind, r.relpersistence, r.relrowsecurity, r.relforcerowsecurity,
        CASE WHEN r.relkind = 'p' THEN pg_get_partkeydef(r.oid) END,
        CASE WHEN r.relispartition THEN pg_get_expr(r.relpartbound, r.oid) END,
        CASE WHEN r.relkind IN ('v', 'm') THEN pg_get_viewdef(r.oid) END,
        CASE WHEN r.relkind = 'S' THEN (SELECT concat_ws(' ', format_type(q.seqtypid, NULL), q.seqstart, q.seqincrement, q.seqmax,
            q.seqmin, q.seqcache, q.seqcycle) FROM pg_sequence AS q WHERE q.seqrelid = r.oid) END),
    concat_ws(' ', r.writers,
        (SELECT string_agg(concat_ws(' ', w.xmin, w.xmax), ' ') FROM pg_rewrite AS w WHERE w.ev_class = r.oid),
        (SELECT concat_ws(' ', q.xmin, q.xmax) FROM pg_sequence AS q WHERE q.seqrelid = r.oid))
FROM relations AS r
WHERE r.relkind NOT IN ('i', 'I')

UNION ALL
SELECT format('column %s.%I', r.name, a.attname),
    concat_ws(' ', format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated,
        nullif(a.attcollation, 0)::regcollation, pg_get_expr(d.adbin, d.adrelid)),
    concat_ws(' ', r.writers, a.xmin, a.xmax, d.xmin, d.xmax)
FROM relations AS r
JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE r.relkind IN ('r', 'p', 'f', 'c')

UNION ALL
SELECT format('order of columns on %s', r.name),
    string_agg(quote_ident(a.attname), ',' ORDER BY a.attnum) FILTER (WHERE NOT a.attisdropped),
    concat_ws(' ', r.writers, string_agg(concat_ws(' ', a.xmin, a.xmax), ' '))
FROM relations AS r
JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0
WHERE r.relkind IN ('r', 'p', 'f', 'c')
GROUP BY r.name, r.writers

UNION ALL
-- Each column has one NOT NULL at most; PostgreSQL 18 and newer know them as constraints, with names that say nothing.
SELECT CASE WHEN k.contype = 'n' THEN format('not null on column %s.%I', r.name, a.attname)
        ELSE format('constraint %I on %s', k.conname, r.name) END,
    pg_get_constraintdef(k.oid), concat_ws(' ', r.writers, k.xmin, k.xmax, a.xmin, a.xmax)
FROM pg_constraint AS k
JOIN relations AS r ON r.oid = k.conrelid
LEFT JOIN pg_attribute AS a ON k.contype = 'n' AND a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
-- PostgreSQL repeats a foreign key for each partition of the table that it refers to.
WHERE NOT EXISTS (SELECT FROM pg_constraint AS whole WHERE whole.oid = k.conparentid AND whole.conrelid = k.conrelid)

UNION ALL
SELECT format('constraint %I on type %I.%I', k.conname, s.nspname, t.typname), pg_get_constraintdef(k.oid),
    concat_ws(' ', s.writers, t.xmin, t.xmax, k.xmin, k.xmax)
FROM pg_constraint AS k
JOIN pg_type AS t ON t.oid = k.contypid
JOIN spaces AS s ON s.oid = t.typnamespace

UNION ALL
SELECT format('index %s on %s', r.name, t.name), concat_ws(' ', pg_get_indexdef(r.oid), i.indisvalid, i.indisready),
    concat_ws(' ', r.writers, t.writers, i.xmin, i.xmax)
FROM relations AS r
JOIN pg_index AS i ON i.indexrelid = r.oid
JOIN relations AS t ON t.oid = i.indrelid

UNION ALL
SELECT format('trigger %I on %s', g.tgname, r.name), concat_ws(' ', pg_get_triggerdef(g.oid), g.tgenabled),
    concat_ws(' ', r.writers, g.xmin, g.xmax)
FROM pg_trigger AS g
JOIN relations AS r ON r.oid = g.tgrelid
WHERE NOT g.tgisinternal

UNION ALL
SELECT format('policy %I on %s', p.polname, r.name),
    concat_ws(' ', p.polcmd, p.polpermissive, p.polroles::regrole[], pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)),
    concat_ws(' ', r.writers, p.xmin, p.xmax)
FROM pg_policy AS p
JOIN relations AS r ON r.oid = p.polrelid

UNION ALL
SELECT format('function %I.%I(%s)', s.nspname, f.proname, pg_get_function_identity_arguments(f.oid)),
    CASE WHEN f.prokind IN ('f', 'p') THEN pg_get_functiondef(f.oid) ELSE f.prokind::text END,
    concat_ws(' ', s.writers, f.xmin, f.xmax)
FROM pg_proc AS f
JOIN spaces AS s ON s.oid = f.pronamespace
