-- Of the evaluations of checks that some runs made, those that are not the newest of their check that came out so, of
-- whatever partition: a run that goes although it was the newest of a partition leaves nothing.
SELECT old.id
FROM asset_check_executions AS old
WHERE
    old.run_id IN :runs
    AND EXISTS (
        SELECT 1
        FROM asset_check_executions AS newer
        WHERE
            newer.asset_key = old.asset_key
            AND newer.check_name = old.check_name
            AND newer.id > old.id
            AND (newer.execution_status = old.execution_status OR old.execution_status = 'PLANNED')
    )
ORDER BY old.id
LIMIT :most
