-- What a logical dump has to know of the server, asked with no more than the right to connect. A limit of -2 marks what
-- an interrupted DROP DATABASE has left: nobody can connect to it.
SELECT
    current_setting('server_version_num')::int AS server_version,
    (SELECT system_identifier::text FROM pg_control_system()) AS system,
    pg_is_in_recovery() AS in_recovery,
    ARRAY(SELECT rolname::text FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY 1) AS roles,
    ARRAY(
        SELECT datname::text FROM pg_database
        WHERE datallowconn AND NOT datistemplate AND datconnlimit <> -2 AND has_database_privilege(oid, 'CONNECT')
        ORDER BY 1
    ) AS databases,
    ARRAY(
        SELECT datname::text FROM pg_database
        WHERE datallowconn AND NOT datistemplate AND datconnlimit <> -2 AND NOT has_database_privilege(oid, 'CONNECT')
        ORDER BY 1
    ) AS closed
