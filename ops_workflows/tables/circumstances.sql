-- What holds for the whole database: the clock, since when it counts, what this role sees, and autovacuum's settings.
SELECT
    current_database() AS database,
    pg_is_in_recovery() AS is_standby,
    clock_timestamp() AS now,
    -- Reset by hand, they leave the database's own time; lost in a crash or a restore, that of each of the other two.
    greatest(d.stats_reset, least(b.stats_reset, a.stats_reset)) AS counted_since,
    pg_has_role('pg_read_all_stats', 'usage') AS sees_all,
    current_setting('track_counts')::boolean AS counts,
    current_setting('autovacuum')::boolean AS autovacuum,
    current_setting('autovacuum_max_workers')::int AS most_workers,
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'autovacuum worker') AS workers,
    current_setting('autovacuum_vacuum_threshold')::bigint AS vacuum_threshold,
    current_setting('autovacuum_vacuum_scale_factor')::float8 AS vacuum_scale_factor,
    -- Of PostgreSQL 18 and newer; -1 there and NULL before mean that there is none.
    current_setting('autovacuum_vacuum_max_threshold', true)::bigint AS vacuum_max_threshold,
    current_setting('block_size')::int AS block_bytes,
    (
        SELECT quote_ident(n.nspname)
        FROM pg_extension AS e
        JOIN pg_proc AS p ON p.pronamespace = e.extnamespace
        JOIN pg_namespace AS n ON n.oid = e.extnamespace
        WHERE e.extname = 'pgstattuple' AND p.proname IN ('pgstattuple_approx', 'pgstatindex')
            AND has_schema_privilege(n.oid, 'usage')
        GROUP BY n.nspname
        HAVING bool_and(has_function_privilege(p.oid, 'execute'))
    ) AS pgstattuple
FROM pg_stat_database AS d
CROSS JOIN pg_stat_bgwriter AS b
CROSS JOIN pg_stat_archiver AS a
WHERE d.datname = current_database()
