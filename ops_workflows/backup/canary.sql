-- When and where in the log everything lies that has been committed so far; on a primary.
SELECT
    clock_timestamp(),
    left(pg_walfile_name(pg_current_wal_insert_lsn()), 8),
    pg_current_wal_insert_lsn()::text
