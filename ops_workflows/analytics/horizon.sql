-- Up to when the query log is settled: what began before is over, so no row with the default timestamp comes any more.
-- A backend shows its transaction a moment after the clock was read for it: hence the two seconds.
-- Who cannot write to the log (a dump, say) holds nothing back.
select
    least(
        now(),
        (
            select min(xact_start)
            from pg_stat_activity
            where datname = current_database()
                and pid <> pg_backend_pid()
                and backend_type not in ('autovacuum worker', 'walsender')
                and (usesysid is null or has_table_privilege(usesysid, 'public.query_log', 'insert'))
        ),
        (select min(prepared) from pg_prepared_xacts where database = current_database())
    ) - interval '2 seconds' as horizon,
    pg_has_role('pg_read_all_stats', 'usage') as sees_all
