-- An estimate of the table's bloat from the statistics of the last ANALYZE: the fraction of its pages that its live rows
-- do not need. NULL without such statistics, and where the counters were reset since: what they count has no beginning.
SELECT greatest(0, 1 - s.n_live_tup * w.row_bytes / nullif(pg_relation_size(s.relid), 0))
FROM pg_stat_user_tables AS s, (
    -- A row's header and pointer, and half of the 8 bytes that it is aligned to.
    SELECT sum((1 - null_frac) * avg_width) + 24 + 4 + 4 AS row_bytes
    FROM pg_stats
    WHERE schemaname = 'public' AND tablename = 'panchangam_cache'
) AS w
WHERE s.relid = 'public.panchangam_cache'::regclass
    AND coalesce(s.last_vacuum, s.last_autovacuum, s.last_analyze, s.last_autoanalyze) IS NOT NULL
