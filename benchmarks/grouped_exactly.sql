-- Likewise with what else the rollup can answer, but exactly, and only for these hours: no longer time, no other fraction.
SELECT
    date_bin('1 hour', created_at, timestamptz '2000-01-01 00:00Z'), query_type, calculation_system, cache_hit,
    floor(latitude / 10), floor(longitude / 10), user_id IS NOT NULL,
    count(*), count(response_time_ms), sum(response_time_ms), min(response_time_ms), max(response_time_ms),
    count(DISTINCT user_id), percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY response_time_ms)
FROM public.query_log
GROUP BY 1, 2, 3, 4, 5, 6, 7
