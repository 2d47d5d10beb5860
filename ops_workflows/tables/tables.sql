-- Every table, materialized view and TOAST table of the database: size, rows, vacuums, and what autovacuum is told of it.
WITH locked AS MATERIALIZED (
    -- Where it is only asked for, too: whoever comes now queues behind it. Size is not worth waiting for.
    SELECT DISTINCT relation
    FROM pg_locks
    WHERE locktype = 'relation' AND mode = 'AccessExclusiveLock' AND pid IS DISTINCT FROM pg_backend_pid()
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
)

SELECT
    c.oid::bigint AS oid,
    format('%I.%I', n.nspname, coalesce(m.relname, c.relname)) AS name,
    m.oid IS NOT NULL AS is_toast,
    am.amname = 'heap' AS is_heap,
    c.reltuples::float8 AS reltuples,
    c.relpages AS pages,
    CASE WHEN l.relation IS NULL THEN pg_relation_size(c.oid) END AS bytes,
    CASE WHEN m.oid IS NULL THEN coalesce(o.fillfactor, 100) ELSE 100 END AS fillfactor,
    pg_stat_get_live_tuples(c.oid) AS live_rows,
    pg_stat_get_dead_tuples(c.oid) AS dead_rows,
    greatest(pg_stat_get_last_vacuum_time(c.oid), pg_stat_get_last_autovacuum_time(c.oid)) AS vacuumed_at,
    greatest(pg_stat_get_last_analyze_time(c.oid), pg_stat_get_last_autoanalyze_time(c.oid)) AS analyzed_at,
    coalesce(o.enabled, true) AS autovacuum,
    o.vacuum_threshold,
    o.vacuum_scale_factor,
    o.vacuum_max_threshold,
    greatest(
        age(c.relfrozenxid)::float8
        / least(current_setting('autovacuum_freeze_max_age')::int, o.freeze_max_age),
        mxid_age(c.relminmxid)::float8
        / least(current_setting('autovacuum_multixact_freeze_max_age')::int, o.multixact_freeze_max_age)
    ) AS age,
    EXISTS (
        SELECT FROM pg_stats AS s
        WHERE s.schemaname = n.nspname AND s.tablename = c.relname AND NOT s.inherited
    ) AS has_statistics,
    has_any_column_privilege(c.oid, 'select') AND NOT (c.relrowsecurity AND row_security_active(c.oid))
        AS shows_statistics
FROM pg_class AS c
LEFT JOIN pg_class AS m ON c.relkind = 't' AND m.reltoastrelid = c.oid
JOIN pg_namespace AS n ON n.oid = coalesce(m.relnamespace, c.relnamespace)
JOIN pg_am AS am ON am.oid = c.relam
LEFT JOIN locked AS l ON l.relation = c.oid
-- A TOAST table without options of its own has those of its table.
CROSS JOIN LATERAL (
    SELECT
        max(option_value) FILTER (WHERE option_name = 'fillfactor')::int AS fillfactor,
        max(option_value) FILTER (WHERE option_name = 'autovacuum_enabled')::boolean AS enabled,
        max(option_value) FILTER (WHERE option_name = 'autovacuum_vacuum_threshold')::bigint AS vacuum_threshold,
        max(option_value) FILTER (WHERE option_name = 'autovacuum_vacuum_scale_factor')::float8 AS vacuum_scale_factor,
        max(option_value) FILTER (WHERE option_name = 'autovacuum_vacuum_max_threshold')::bigint
            AS vacuum_max_threshold,
        max(option_value) FILTER (WHERE option_name = 'autovacuum_freeze_max_age')::int AS freeze_max_age,
        max(option_value) FILTER (WHERE option_name = 'autovacuum_multixact_freeze_max_age')::int
            AS multixact_freeze_max_age
    FROM pg_options_to_table(coalesce(c.reloptions, m.reloptions))
) AS o
WHERE (c.relkind IN ('r', 'm') OR m.oid IS NOT NULL)
    AND c.relpersistence <> 't'
    AND n.nspname NOT IN ('pg_catalog', 'information_schema')
ORDER BY c.oid
