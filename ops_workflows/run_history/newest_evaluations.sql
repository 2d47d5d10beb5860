-- Who says the newest of each check: its newest row, its newest evaluation that passed and that failed, and, of each of
-- its partitions, the newest evaluation. A row that was only planned counts as the newest of all, and never as that of a
-- partition: where the evaluation names none, it stays planned for ever.
WITH kept AS (
    SELECT max(id) AS id, 0 AS is_partition
    FROM asset_check_executions
    GROUP BY asset_key, check_name
    UNION
    SELECT max(id), 0
    FROM asset_check_executions
    WHERE execution_status <> 'PLANNED'
    GROUP BY asset_key, check_name, execution_status
    UNION
    SELECT max(id), 1
    FROM asset_check_executions
    WHERE execution_status <> 'PLANNED'
    GROUP BY asset_key, check_name, coalesce(partition, '')
)

SELECT said.run_id, said.asset_key, said.check_name, kept.is_partition
FROM kept
JOIN asset_check_executions AS said ON said.id = kept.id
WHERE said.run_id <> ''
