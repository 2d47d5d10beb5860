-- Of the evaluations of checks that belong to no run, those that are old and not the newest of their check that came out
-- so. One that was only planned is superseded by any later one.
SELECT old.id
FROM asset_check_executions AS old
WHERE
    old.run_id = ''
    AND old.create_timestamp < :before
    AND EXISTS (
        SELECT 1
        FROM asset_check_executions AS newer
        WHERE
            newer.asset_key = old.asset_key
            AND newer.check_name = old.check_name
            AND coalesce(newer.partition, '') = coalesce(old.partition, '')
            AND newer.id > old.id
            AND (newer.execution_status = old.execution_status OR old.execution_status = 'PLANNED')
    )
ORDER BY old.id
LIMIT :most
