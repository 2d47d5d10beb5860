-- What a standby says of itself; its receiver is a row only while it is there, and silent about what it may not tell.
SELECT
    pg_is_in_recovery() AS is_standby,
    -- Asked of a primary it would be an error.
    CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() END AS paused,
    (SELECT status FROM pg_stat_wal_receiver) AS receiver,
    CASE
        WHEN pg_last_wal_replay_lsn() >= pg_last_wal_receive_lsn() THEN 0
        ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())
    END::float8 AS seconds
