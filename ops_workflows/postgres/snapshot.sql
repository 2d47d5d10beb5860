-- Which transactions have ended, and a place in the log that lies behind all their commits.
SELECT
    pg_snapshot_xmin(now)::text::bigint AS oldest,
    -- xmax is behind the newest that has ended; age() counts from there to the newest that has begun.
    pg_snapshot_xmax(now)::text::bigint + age(pg_snapshot_xmax(now)::xid) AS next,
    CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END::text AS lsn
FROM pg_current_snapshot() AS now
