-- What besides its files decides what a migration makes of an empty database.
SELECT
    current_setting('server_version_num')::int / 10000 AS major,
    current_database()::text AS database,
    pg_encoding_to_char(encoding)::text AS encoding,
    session_user::text AS owner,
    current_schema()::text AS schema,
    current_setting('search_path') AS search_path,
    ARRAY(SELECT rolname::text FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY 1) AS roles
FROM pg_database
WHERE datname = current_database()
