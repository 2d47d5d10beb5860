-- Up to when the query log has statistics, and whether rows of hours that were over so long ago wait for theirs.
WITH done AS (
    SELECT coalesce(max(period) + interval '1 hour', '-infinity') AS until FROM ops.query_stats_periods WHERE grain = 'hour'
)

SELECT
    nullif(until, '-infinity'),
    extract(epoch FROM clock_timestamp() - nullif(until, '-infinity'))::float8 / 3600,
    (
        SELECT max(hours)
        FROM unnest(%(hours)s::float8[]) AS hours
        WHERE EXISTS (
            SELECT FROM public.query_log
            WHERE created_at >= done.until
                -- Of an hour that was over by then.
                AND created_at < date_trunc('hour', now() - hours * interval '1 hour')
        )
    )
FROM done
