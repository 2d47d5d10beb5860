-- Standbys that are connected, and how much of the log they have yet to replay; the receiver of our own log is none.
SELECT
    coalesce(nullif(r.application_name, ''), 'unnamed') AS name,
    r.state,
    greatest(
        0,
        pg_wal_lsn_diff(
            CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, r.replay_lsn
        )
    )::float8 AS bytes,
    extract(epoch FROM r.replay_lag)::float8 AS seconds
FROM pg_stat_replication AS r
LEFT JOIN pg_replication_slots AS s ON s.active_pid = r.pid
WHERE r.state IN ('streaming', 'catchup') AND s.slot_name IS DISTINCT FROM %(slot)s
