-- Merges the hours from %(start)s to before %(end)s into one day; returns how many rows of the log are in it.
with hours as (
    select * from ops.query_stats_hourly where period >= %(start)s and period < %(end)s
),

totals as (
    select
        query_type, calculation_system, cache_hit, region, user_kind,
        sum(queries)::bigint as queries,
        sum(errors)::bigint as errors,
        sum(timed)::bigint as timed,
        sum(sum_ms) as sum_ms,
        min(min_ms) as min_ms,
        max(max_ms) as max_ms
    from hours
    group by query_type, calculation_system, cache_hit, region, user_kind
),

bins as (
    select
        query_type, calculation_system, cache_hit, region, user_kind,
        array_agg(bin order by bin) as latency_bins,
        array_agg(n order by bin) as latency_counts
    from (
        select query_type, calculation_system, cache_hit, region, user_kind, bin, sum(n)::bigint as n
        from hours, unnest(latency_bins, latency_counts) as binned (bin, n)
        group by query_type, calculation_system, cache_hit, region, user_kind, bin
    ) as merged
    group by query_type, calculation_system, cache_hit, region, user_kind
),

sketches as (
    select
        query_type, calculation_system, cache_hit, region, user_kind,
        array_agg(entry order by entry) as users
    from (
        select query_type, calculation_system, cache_hit, region, user_kind, max(entry) as entry
        from hours, unnest(users) as entry
        group by query_type, calculation_system, cache_hit, region, user_kind, entry / 64
    ) as merged
    group by query_type, calculation_system, cache_hit, region, user_kind
),

written as (
    insert into ops.query_stats_daily
    select
        %(start)s, query_type, calculation_system, cache_hit, region, user_kind,
        queries, errors, timed, sum_ms, min_ms, max_ms,
        coalesce(latency_bins, '{}'), coalesce(latency_counts, '{}'), coalesce(users, '{}')
    from totals
    left join bins using (query_type, calculation_system, cache_hit, region, user_kind)
    left join sketches using (query_type, calculation_system, cache_hit, region, user_kind)
    returning queries
)

select coalesce(sum(queries), 0)::bigint from written
