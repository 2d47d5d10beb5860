-- How far the server's log goes, and how far a receiver that streams from it has it in its repository.
SELECT
    (SELECT system_identifier::text FROM pg_control_system()) AS system,
    (SELECT timeline_id FROM pg_control_checkpoint()) AS timeline,
    (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END)::text AS log_end,
    pg_is_in_recovery() AS follows,
    (SELECT restart_lsn::text FROM pg_replication_slots WHERE slot_name = %(slot)s AND active) AS acknowledged
