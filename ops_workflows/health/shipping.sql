-- Where the server's log ends, and up to where the bucket has acknowledged it to the receiver's slot.
SELECT
    (SELECT system_identifier::text FROM pg_control_system()) AS system,
    clock_timestamp() AS now,
    CASE
        WHEN NOT pg_is_in_recovery() THEN ('x' || left(pg_walfile_name(pg_current_wal_flush_lsn()), 8))::bit(32)::int
        ELSE (SELECT timeline_id FROM pg_control_checkpoint())
    END AS timeline,
    pg_size_bytes(current_setting('wal_segment_size'))::int AS segment_bytes,
    (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END)::text AS server_end,
    s.slot_name IS NOT NULL AS there,
    coalesce(s.active, false) AS active,
    s.wal_status AS kept,
    s.restart_lsn::text AS shipped
FROM (SELECT 1) AS one
LEFT JOIN pg_replication_slots AS s ON s.slot_name = %(slot)s
