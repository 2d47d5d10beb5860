-- Who is connected, who holds what open, and who waits; without pg_read_all_stats the sessions of others say little.
SELECT
    pg_has_role('pg_read_all_stats', 'usage') AS sees_all,
    current_setting('max_connections')::int AS most,
    count(*) FILTER (WHERE backend_type = 'client backend') AS connections,
    count(*) FILTER (WHERE state LIKE 'idle in transaction%') AS idle,
    coalesce(extract(epoch FROM max(clock_timestamp() - state_change) FILTER (WHERE state LIKE 'idle in transaction%')), 0)
        ::float8 AS idle_seconds,
    (
        SELECT format('pid %s, %s, %s', pid, usename, coalesce(nullif(application_name, ''), 'unnamed'))
        FROM pg_stat_activity
        WHERE state LIKE 'idle in transaction%'
        ORDER BY state_change LIMIT 1
    ) AS idle_who,
    coalesce(
        extract(epoch FROM max(clock_timestamp() - xact_start) FILTER (
            WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
        )), 0
    )::float8 AS open_seconds,
    (
        SELECT format('pid %s, %s, %s', pid, usename, coalesce(nullif(application_name, ''), 'unnamed'))
        FROM pg_stat_activity
        WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
        ORDER BY xact_start LIMIT 1
    ) AS open_who,
    coalesce((SELECT extract(epoch FROM max(clock_timestamp() - prepared)) FROM pg_prepared_xacts), 0)
        ::float8 AS prepared_seconds,
    (SELECT gid FROM pg_prepared_xacts ORDER BY prepared LIMIT 1) AS prepared_who,
    (SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted) AS blocked,
    -- The moment is missing for an instant after the wait has begun.
    coalesce((SELECT extract(epoch FROM max(clock_timestamp() - waitstart)) FROM pg_locks WHERE NOT granted), 0)
        ::float8 AS blocked_seconds,
    (
        SELECT array_to_string(pg_blocking_pids(pid), ', ')
        FROM pg_locks WHERE NOT granted
        ORDER BY waitstart LIMIT 1
    ) AS blockers
FROM pg_stat_activity
