-- What a cluster is set up like, beside its data: for whoever has to build one that behaves the same.
SELECT jsonb_pretty(jsonb_build_object(
    'server_version', current_setting('server_version'),
    'parameters', (
        SELECT jsonb_agg(jsonb_build_object('name', name, 'setting', setting, 'unit', unit) ORDER BY name)
        FROM pg_settings
        WHERE source IN ('configuration file', 'command line', 'environment variable')
            -- These may have a password in them.
            AND name NOT IN ('primary_conninfo', 'ssl_passphrase_command')
    ),
    'databases', (
        SELECT jsonb_agg(
            jsonb_build_object(
                'name', datname, 'owner', pg_get_userbyid(datdba), 'encoding', pg_encoding_to_char(encoding),
                'collate', datcollate, 'ctype', datctype, 'connection_limit', datconnlimit
            ) ORDER BY datname
        )
        FROM pg_database
        WHERE NOT datistemplate
    ),
    'database_role_settings', (
        SELECT coalesce(
            jsonb_agg(
                jsonb_build_object('database', d.datname, 'role', r.rolname, 'settings', s.setconfig)
                ORDER BY d.datname, r.rolname
            ), '[]'
        )
        FROM pg_db_role_setting AS s
        LEFT JOIN pg_database AS d ON d.oid = s.setdatabase
        LEFT JOIN pg_roles AS r ON r.oid = s.setrole
    )
))
