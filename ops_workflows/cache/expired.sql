-- One batch of rows that have expired; whoever works on a row keeps it. Returns how many rows went, and their bytes.
WITH gone AS (
    DELETE FROM public.panchangam_cache
    WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM public.panchangam_cache
        WHERE expires_at < %(before)s
        ORDER BY expires_at
        LIMIT %(rows)s
        FOR UPDATE SKIP LOCKED
    ))
    RETURNING pg_column_size(data) + pg_column_size(cache_key) AS bytes
)
SELECT count(*), coalesce(sum(bytes), 0)::bigint FROM gone
