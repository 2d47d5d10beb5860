-- Who says the newest of each check: its newest evaluation, and the newest that passed and that failed.
SELECT run_id, asset_key, check_name
FROM asset_check_executions
WHERE
    run_id <> ''
    AND id IN (
        SELECT max(id)
        FROM asset_check_executions
        GROUP BY asset_key, check_name, coalesce(partition, '')
        UNION
        SELECT max(id)
        FROM asset_check_executions
        WHERE execution_status <> 'PLANNED'
        GROUP BY asset_key, check_name, coalesce(partition, ''), execution_status
    )
