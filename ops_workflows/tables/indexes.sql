-- Every index of the application's tables: what it indexes, what rests on it, its size, and how often it was used.
WITH locked AS MATERIALIZED (
    SELECT DISTINCT relation
    FROM pg_locks
    WHERE locktype = 'relation' AND mode = 'AccessExclusiveLock' AND pid IS DISTINCT FROM pg_backend_pid()
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
),

resting AS MATERIALIZED (
    SELECT
        conindid AS index,
        max(quote_ident(conname)) FILTER (WHERE contype = 'u') AS unique_constraint,
        bool_or(contype = 'x') AS is_exclusion,
        bool_or(contype = 'f') AS is_referenced
    FROM pg_constraint
    WHERE conindid <> 0
    GROUP BY conindid
)

SELECT
    c.oid::bigint AS oid,
    t.oid::bigint AS table_oid,
    format('%I.%I', n.nspname, t.relname) AS table_name,
    format('%I.%I', n.nspname, c.relname) AS name,
    am.amname AS method,
    -- An index of a partition that belongs to one of the whole table counts for that one.
    coalesce(pg_partition_root(c.oid), c.oid)::bigint AS root,
    c.relispartition AS is_attached,
    c.relkind = 'I' AS is_partitioned,
    CASE WHEN c.relkind = 'I' THEN 0 WHEN l.relation IS NULL THEN pg_relation_size(c.oid) END AS bytes,
    c.relpages AS pages,
    c.reltuples::float8 AS rows,
    coalesce(
        (SELECT option_value::int FROM pg_options_to_table(c.reloptions) WHERE option_name = 'fillfactor'), 90
    ) AS fillfactor,
    coalesce(pg_stat_get_numscans(c.oid), 0) AS scans,
    -- Each key column with all that decides whether two of them are alike.
    ARRAY(
        SELECT concat_ws(
            ' ',
            coalesce(nullif(i.indkey[k], 0)::text, pg_get_indexdef(c.oid, k + 1, false)),
            i.indclass[k], i.indcollation[k], i.indoption[k], a.attoptions
        )
        FROM generate_series(0, i.indnkeyatts - 1) AS k
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k + 1
        ORDER BY k
    ) AS keys,
    ARRAY(
        SELECT i.indkey[k]::int FROM generate_series(0, i.indnkeyatts - 1) AS k WHERE i.indkey[k] <> 0 ORDER BY k
    ) AS key_columns,
    ARRAY(
        SELECT i.indkey[k]::int FROM generate_series(i.indnkeyatts, i.indnatts - 1) AS k ORDER BY k
    ) AS included,
    pg_get_expr(i.indpred, i.indrelid) AS predicate,
    i.indisunique AS is_unique,
    -- Of PostgreSQL 15 and newer; before, NULLs were always distinct.
    NOT coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false) AS nulls_distinct,
    i.indimmediate AS is_immediate,
    i.indisprimary AS is_primary,
    r.unique_constraint,
    coalesce(r.is_exclusion, false) AS is_exclusion,
    coalesce(r.is_referenced, false) AS is_referenced,
    i.indisreplident AS is_identity,
    -- Whoever deletes or changes the row that is referred to needs it, and nobody else may.
    EXISTS (
        SELECT FROM pg_constraint AS f
        WHERE f.conrelid = t.oid AND f.contype = 'f'
            AND f.conkey <@ (i.indkey::int2[])[0:cardinality(f.conkey) - 1]
    ) AS serves_foreign_key,
    i.indisvalid AND i.indisready AS is_valid,
    CASE WHEN current_setting('track_commit_timestamp')::boolean THEN pg_xact_commit_timestamp(i.xmin) END AS made_at
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_class AS t ON t.oid = i.indrelid
JOIN pg_namespace AS n ON n.oid = t.relnamespace
JOIN pg_am AS am ON am.oid = c.relam
LEFT JOIN resting AS r ON r.index = c.oid
LEFT JOIN locked AS l ON l.relation = c.oid
WHERE t.relkind IN ('r', 'm', 'p')
    AND t.relpersistence <> 't'
    AND n.nspname NOT IN ('pg_catalog', 'information_schema')
ORDER BY c.oid
