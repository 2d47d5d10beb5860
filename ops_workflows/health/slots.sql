-- Replication slots that outlive their session, and how much of the log each keeps on the server.
SELECT
    slot_name AS name,
    active,
    wal_status AS kept,
    greatest(
        0,
        pg_wal_lsn_diff(
            CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, restart_lsn
        )
    )::float8 AS bytes
FROM pg_replication_slots
WHERE NOT temporary
ORDER BY slot_name
