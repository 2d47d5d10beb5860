-- Vacuums at work in this database. Whoever may not read all statistics sees that there is one, and no more.
SELECT
    p.pid,
    p.relid::bigint AS table_oid,
    p.phase,
    a.xact_start AS since,
    a.backend_type = 'autovacuum worker' AS is_automatic,
    p.heap_blks_total AS blocks,
    p.heap_blks_scanned AS scanned
FROM pg_stat_progress_vacuum AS p
LEFT JOIN pg_stat_activity AS a ON a.pid = p.pid
WHERE p.datname = current_database()
ORDER BY p.pid
