SELECT count(*)
FROM job_ticks
WHERE
    (selector_id = :selector_id OR (selector_id IS NULL AND job_origin_id = :origin_id))
    AND status = :status
    AND timestamp < :before
