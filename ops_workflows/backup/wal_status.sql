-- Where the server's log ends, and what the receiver's slot says of how far the bucket has it.
SELECT
    (SELECT system_identifier::text FROM pg_control_system()) AS system,
    (SELECT timeline_id FROM pg_control_checkpoint()) AS timeline,
    pg_size_bytes(current_setting('wal_segment_size'))::int AS segment_bytes,
    (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END)::text AS server_end,
    s.active,
    s.restart_lsn::text AS restart,
    s.wal_status AS kept,
    extract(epoch FROM r.flush_lag)::float AS flush_lag_seconds,
    r.sync_state
FROM (SELECT 1) AS one
LEFT JOIN pg_replication_slots AS s ON s.slot_name = %(slot)s
LEFT JOIN pg_stat_replication AS r ON r.pid = s.active_pid
