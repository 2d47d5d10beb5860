-- One batch of rows that never expire and were made long ago. Returns how many rows went, their bytes, no moment, and how
-- many were picked, as the batch of rows that have expired does.
WITH picked AS MATERIALIZED (
    SELECT ARRAY(
        SELECT ctid FROM public.panchangam_cache
        WHERE (expires_at IS NULL OR expires_at = 'infinity') AND created_at < %(before)s
        LIMIT %(rows)s
        FOR UPDATE SKIP LOCKED
    ) AS places
), gone AS (
    DELETE FROM public.panchangam_cache
    WHERE ctid = ANY((SELECT places FROM picked)::tid[])
    RETURNING pg_column_size(data) + pg_column_size(cache_key) AS bytes
)
SELECT count(*), coalesce(sum(bytes), 0)::bigint, NULL, (SELECT cardinality(places) FROM picked) FROM gone
