-- Each day from %(since)s to before %(until)s: rows in its hours, rows it was merged from, and rows in its statistics.
with hours as (
    select
        date_bin('1 day', period, timestamptz '2000-01-01 00:00Z') as period,
        sum(raw_rows)::bigint as n,
        max(rolled_up_at) as newest
    from ops.query_stats_periods
    where grain = 'hour' and period >= %(since)s and period < %(until)s
    group by 1
),

done as (
    select period, raw_rows, rolled_up_at
    from ops.query_stats_periods
    where grain = 'day' and period >= %(since)s and period < %(until)s
),

kept as (
    select period, sum(queries)::bigint as n
    from ops.query_stats_daily
    where period >= %(since)s and period < %(until)s
    group by 1
)

select
    period, coalesce(hours.n, 0) as source, done.raw_rows as rolled_up, coalesce(kept.n, 0) as kept,
    coalesce(hours.newest > done.rolled_up_at, false) as outdated, false as dropped
from hours
full join done using (period)
full join kept using (period)
order by period
