-- The table's rows as the server counts them, whether this role may vacuum it, and whether it may measure its bloat
-- exactly. Nothing here waits for a lock on it.
SELECT
    coalesce(s.n_live_tup, 0),
    coalesce(s.n_dead_tup, 0),
    greatest(s.last_vacuum, s.last_autovacuum),
    pg_has_role(c.relowner, 'usage') OR CASE
        WHEN current_setting('server_version_num')::int >= 170000 THEN has_table_privilege(c.oid, 'MAINTAIN')
        ELSE false
    END,
    (
        SELECT format('%I.pgstattuple_approx', n.nspname)
        FROM pg_proc AS p
        JOIN pg_namespace AS n ON n.oid = p.pronamespace
        WHERE p.proname = 'pgstattuple_approx' AND has_function_privilege(p.oid, 'execute')
            AND has_schema_privilege(n.oid, 'usage')
        LIMIT 1
    )
FROM pg_class AS c
LEFT JOIN pg_stat_user_tables AS s ON s.relid = c.oid
WHERE c.oid = to_regclass('public.panchangam_cache')
