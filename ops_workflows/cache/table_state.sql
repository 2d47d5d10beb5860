-- The table's rows as the server counts them, whether this role may vacuum it, and whether it may measure its bloat
-- exactly. Nothing here waits for a lock on it.
SELECT
    -- Counters that were reset begin at nought, however many rows there are, until the next vacuum or ANALYZE.
    CASE WHEN coalesce(s.last_vacuum, s.last_autovacuum, s.last_analyze, s.last_autoanalyze) IS NOT NULL
        THEN s.n_live_tup
        ELSE greatest(s.n_live_tup, c.reltuples::bigint, 0)
    END,
    coalesce(s.n_dead_tup, 0),
    greatest(s.last_vacuum, s.last_autovacuum),
    pg_has_role(c.relowner, 'usage') OR CASE
        WHEN current_setting('server_version_num')::int >= 170000 THEN has_table_privilege(c.oid, 'MAINTAIN')
        ELSE false
    END,
    (
        SELECT format('%I.pgstattuple_approx', n.nspname)
        FROM pg_extension AS e
        -- The extension's own, for anybody may give a function of theirs this name.
        JOIN pg_depend AS d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
        JOIN pg_proc AS p ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
        JOIN pg_namespace AS n ON n.oid = p.pronamespace
        WHERE e.extname = 'pgstattuple' AND p.proname = 'pgstattuple_approx' AND has_function_privilege(p.oid, 'execute')
            AND has_schema_privilege(n.oid, 'usage')
        LIMIT 1
    )
FROM pg_class AS c
LEFT JOIN pg_stat_user_tables AS s ON s.relid = c.oid
WHERE c.oid = to_regclass('public.panchangam_cache')
