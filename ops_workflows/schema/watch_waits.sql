-- What one session has locked or waits for (the migration's), and which others wait behind it, for how many seconds.
SELECT CASE WHEN l.pid <> %(pid)s THEN 'waits' WHEN l.granted THEN 'held' ELSE 'wanted' END,
    coalesce(substring(a.query FROM '^/\* (.*?) \*/'), nullif(left(a.application_name, 60), ''), a.backend_type),
    l.relation::bigint, l.mode, greatest(0, extract(epoch FROM clock_timestamp() - l.waitstart))
FROM pg_locks AS l
JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE CASE
    WHEN l.pid = %(pid)s THEN NOT l.granted OR l.locktype = 'relation'
    ELSE NOT l.granted AND l.waitstart IS NOT NULL AND %(pid)s = ANY(pg_blocking_pids(l.pid))
END
