-- What decides whether a base backup of this server can be taken by this role.
SELECT
    current_setting('server_version_num')::int AS server_version,
    current_user::text AS role,
    (SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user) AS may_replicate,
    pg_has_role(current_user, 'pg_read_all_data', 'usage')
        OR (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS may_read,
    current_setting('wal_level') AS wal_level,
    current_setting('max_wal_senders')::int AS max_wal_senders,
    (SELECT count(*)::int FROM pg_stat_activity WHERE backend_type = 'walsender') AS wal_senders,
    pg_is_in_recovery() AS in_recovery,
    current_setting('data_checksums') = 'on' AS data_checksums,
    coalesce(current_setting('summarize_wal', true) = 'on', false) AS summarize_wal,
    pg_size_bytes(current_setting('wal_segment_size'))::int AS wal_segment_bytes,
    (SELECT rolname::text FROM pg_roles WHERE oid = 10) AS superuser,
    -- A managed service. Its settings no dump carries elsewhere. Its roles one does, but not the want of any superuser
    -- besides the service's own, whose names begin like that of the role.
    (
        SELECT service
        FROM (
            VALUES
                ('Amazon RDS', 'rds', 'rds_superuser'),
                ('Cloud SQL', 'cloudsql', 'cloudsqlsuperuser'),
                ('Azure Database', 'azure', 'azure_pg_admin')
        ) AS known (service, beginning, role)
        WHERE EXISTS (SELECT FROM pg_settings WHERE starts_with(name, beginning || '.'))
            OR (
                EXISTS (SELECT FROM pg_roles WHERE rolname = role)
                AND NOT EXISTS (SELECT FROM pg_roles WHERE rolsuper AND NOT starts_with(rolname, beginning))
            )
        LIMIT 1
    ) AS service
