-- Which server this is: what cluster, on which timeline, as what, and since when.
SELECT
    pg_is_in_recovery(),
    (SELECT system_identifier::text FROM pg_control_system()),
    CASE
        -- A new timeline is in the control file only after its first checkpoint, and in the names of files at once.
        WHEN NOT pg_is_in_recovery() THEN ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int
        ELSE greatest(
            (SELECT timeline_id FROM pg_control_checkpoint()), (SELECT received_tli FROM pg_stat_wal_receiver)
        )
    END,
    pg_postmaster_start_time()
