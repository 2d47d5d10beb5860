-- Where the server's log ends, when by its own clock, and what the receiver's slot says.
SELECT
    (SELECT system_identifier::text FROM pg_control_system()) AS system,
    clock_timestamp() AS now,
    CASE
        -- A new timeline is in the control file only after its first checkpoint, and in the names of files at once.
        WHEN NOT pg_is_in_recovery() THEN ('x' || left(pg_walfile_name(pg_current_wal_flush_lsn()), 8))::bit(32)::int
        ELSE (SELECT timeline_id FROM pg_control_checkpoint())
    END AS timeline,
    pg_size_bytes(current_setting('wal_segment_size'))::int AS segment_bytes,
    (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END)::text AS server_end,
    s.active,
    s.wal_status AS kept,
    r.sync_state
FROM (SELECT 1) AS one
LEFT JOIN pg_replication_slots AS s ON s.slot_name = %(slot)s
LEFT JOIN pg_stat_replication AS r ON r.pid = s.active_pid
