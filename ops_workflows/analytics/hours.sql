-- Each hour from %(since)s to before %(until)s: rows of the log, rows it was rolled up from, and rows in its statistics.
-- Where these are as many, but one was exchanged for another, their response times tell.
with raw as (
    select date_bin('1 hour', created_at, timestamptz '2000-01-01 00:00Z') as period, count(*) as n, sum(response_time_ms) as ms
    from public.query_log
    where created_at >= %(since)s and created_at < %(until)s
    group by 1
),

done as (
    select period, raw_rows
    from ops.query_stats_periods
    where grain = 'hour' and period >= %(since)s and period < %(until)s
),

kept as (
    select period, sum(queries)::bigint as n, sum(sum_ms) as ms
    from ops.query_stats_hourly
    where period >= %(since)s and period < %(until)s
    group by 1
)

select
    period, coalesce(raw.n, 0) as source, done.raw_rows as rolled_up, coalesce(kept.n, 0) as kept,
    coalesce(raw.n > 0 and raw.ms is distinct from kept.ms, false) as outdated,
    exists (
        select from ops.query_log_months as gone
        where gone.dropped_at is not null and period >= gone.month
            and period < (gone.month at time zone 'UTC' + interval '1 month') at time zone 'UTC'
    ) as dropped
from raw
full join done using (period)
full join kept using (period)
order by period
