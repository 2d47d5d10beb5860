-- Whose transactions are so old that vacuums of this database have to leave rows that died since.
WITH senders AS (
    SELECT pid, application_name, backend_xmin FROM pg_stat_replication
)

SELECT
    'session' AS kind,
    concat_ws(
        ' ', pid, 'of', coalesce(usename, 'an unknown role'), nullif(format('(%s)', application_name), '()'), state
    ) AS name,
    xact_start AS since,
    -- Who has written has a number and, between two statements, no snapshot.
    greatest(age(backend_xid), age(backend_xmin)) AS transactions,
    false AS catalogue_only
FROM pg_stat_activity
WHERE coalesce(backend_xid, backend_xmin) IS NOT NULL
    AND pid <> pg_backend_pid()
    AND datname = current_database()
    -- One vacuum does not wait for another.
    AND pid NOT IN (SELECT pid FROM pg_stat_progress_vacuum)
    AND pid NOT IN (SELECT pid FROM senders)
UNION ALL
SELECT 'standby', coalesce(nullif(application_name, ''), pid::text), NULL, age(backend_xmin), false
FROM senders
WHERE backend_xmin IS NOT NULL
UNION ALL
SELECT 'slot', slot_name, NULL, age(xmin), false
FROM pg_replication_slots
WHERE xmin IS NOT NULL
UNION ALL
SELECT 'slot', slot_name, NULL, age(catalog_xmin), true
FROM pg_replication_slots
WHERE catalog_xmin IS NOT NULL
UNION ALL
SELECT 'prepared transaction', format('%s of %s', gid, owner), prepared, age(transaction), false
FROM pg_prepared_xacts
WHERE database = current_database()
ORDER BY transactions DESC
