-- The runs that some other run tries again, directly or as the first of a chain. Files of SQLite keep the tags of runs
-- that are gone.
SELECT DISTINCT tag.value
FROM run_tags AS tag
JOIN runs AS again ON again.run_id = tag.run_id
WHERE tag.key IN ('dagster/root_run_id', 'dagster/parent_run_id') AND tag.value <> tag.run_id
