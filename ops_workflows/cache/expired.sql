-- One batch of rows that have expired, from where the last one ended; whoever works on a row keeps it. Returns how many
-- rows went, their bytes, where it ended, and how many were picked: more than went if a row was changed meanwhile, whose
-- new version only the next batch sees. The index still leads to what went before, and reading over that would take each
-- batch longer than the one before.
WITH picked AS MATERIALIZED (
    SELECT ARRAY(
        SELECT ctid FROM public.panchangam_cache
        WHERE expires_at >= %(after)s AND expires_at < %(before)s
        ORDER BY expires_at
        LIMIT %(rows)s
        FOR UPDATE SKIP LOCKED
    ) AS places
), gone AS (
    DELETE FROM public.panchangam_cache
    WHERE ctid = ANY((SELECT places FROM picked)::tid[])
    RETURNING pg_column_size(data) + pg_column_size(cache_key) AS bytes, expires_at
)
SELECT count(*), coalesce(sum(bytes), 0)::bigint, max(expires_at)::text, (SELECT cardinality(places) FROM picked) FROM gone
