-- Of the events that belong to no run, those that are old, and of an asset not the newest of their kind. The newest
-- evaluations of checks are in a table of their own, so that here they go by age alone.
SELECT old.id
FROM event_logs AS old
WHERE
    old.run_id = ''
    AND old.timestamp < :before
    AND (
        old.asset_key IS NULL
        OR EXISTS (
            SELECT 1
            FROM event_logs AS newer
            WHERE
                newer.asset_key = old.asset_key
                AND newer.dagster_event_type = old.dagster_event_type
                AND newer.id > old.id
                AND newer.run_id = ''
                AND coalesce(newer.partition, '') = coalesce(old.partition, '')
        )
    )
ORDER BY old.id
LIMIT :most
