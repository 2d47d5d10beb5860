-- What the role that backs up can see of the server, for the judgements in doctor_database.py.
SELECT
    current_setting('server_version_num')::int / 10000 AS major,
    current_setting('server_version') AS version,
    current_setting('wal_level') AS wal_level,
    current_setting('max_wal_senders')::int AS max_senders,
    (SELECT count(*) FROM pg_stat_replication) AS senders,
    current_setting('summarize_wal', true) AS summarize_wal, -- NULL before PostgreSQL 17
    current_setting('data_checksums') AS checksums,
    current_setting('max_slot_wal_keep_size') AS slot_keeps,
    rolsuper OR rolreplication AS may_replicate,
    rolsuper OR pg_has_role('pg_read_all_data', 'USAGE') AS may_read,
    (SELECT sum(pg_database_size(oid))::bigint FROM pg_database WHERE datallowconn) AS bytes
FROM pg_roles WHERE rolname = current_user
