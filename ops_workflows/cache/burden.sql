-- What the server bears: its clock, the standby furthest behind, the slot that keeps the most, work on the table, and the
-- log that waits for archiving.
-- Whoever may not read all statistics sees a standby without its positions: `hidden` says so.
SELECT
    clock_timestamp() AT TIME ZONE 'UTC',
    coalesce(r.name, ''),
    coalesce(r.seconds, 0)::float8,
    coalesce(r.bytes, 0)::bigint,
    coalesce(s.name, ''),
    coalesce(s.bytes, 0)::bigint,
    EXISTS (
        SELECT FROM pg_locks AS l
        WHERE l.locktype = 'relation' AND l.relation = 'public.panchangam_cache'::regclass
            AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
            -- VACUUM, ANALYZE and the building of an index hold it; what the application does never.
            AND l.mode = 'ShareUpdateExclusiveLock' AND l.granted AND l.pid <> pg_backend_pid()
    ),
    coalesce(h.hidden, false),
    coalesce(h.standbys, '{}'),
    coalesce(greatest(a.bytes, 0), 0)::bigint
FROM (SELECT 1) AS one
LEFT JOIN LATERAL (
    SELECT application_name AS name, extract(epoch FROM replay_lag) AS seconds,
        pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) AS bytes
    FROM pg_stat_replication
    -- A base backup and our receiver of the log replay nothing; what the latter has yet to ship, its slot says.
    -- A standby that catches up counts with what it lacks.
    WHERE replay_lsn IS NOT NULL AND application_name <> %(receiver)s
    ORDER BY bytes DESC
    LIMIT 1
) AS r ON true
LEFT JOIN LATERAL (
    SELECT slot_name AS name, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) AS bytes
    FROM pg_replication_slots
    WHERE restart_lsn IS NOT NULL AND wal_status IS DISTINCT FROM 'lost'
    ORDER BY bytes DESC
    LIMIT 1
) AS s ON true
LEFT JOIN LATERAL (
    SELECT bool_or(state IS NULL) AS hidden,
        array_agg(application_name) FILTER (
            WHERE replay_lsn IS NOT NULL AND application_name <> %(receiver)s
        ) AS standbys
    FROM pg_stat_replication
) AS h ON true
LEFT JOIN LATERAL (
    -- A segment's name holds its timeline, the upper half of its position, and its number in the lower one. Before the
    -- first that was archived, the first that could not be tells where the backlog begins.
    SELECT pg_current_wal_lsn() - '0/0'::pg_lsn - (
        ('x' || substr(f.name, 9, 8))::bit(32)::bigint * 4294967296
        + (('x' || substr(f.name, 17, 8))::bit(32)::bigint + f.done)
        * pg_size_bytes(current_setting('wal_segment_size'))
    ) AS bytes
    FROM (
        SELECT coalesce(last_archived_wal, last_failed_wal) AS name, (last_archived_wal IS NOT NULL)::int AS done
        FROM pg_stat_archiver
    ) AS f
    WHERE current_setting('archive_mode') <> 'off' AND f.name ~ '^[0-9A-F]{24}'
) AS a ON true
