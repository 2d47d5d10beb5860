drop view ops.query_answers_hourly, ops.query_totals_hourly, ops.query_totals_daily;

create or replace view ops.query_answers_daily as
with totals as (
    select
        period, query_type, sum(queries)::bigint as queries,
        coalesce(sum(queries) filter (where cache_hit), 0)::bigint as cache_hits
    from ops.query_stats_daily
    group by period, query_type
),

bins as (
    select period, query_type, array_agg(bin order by bin) as bins, array_agg(n order by bin) as counts
    from (
        select period, query_type, bin, sum(n)::bigint as n
        from ops.query_stats_daily, unnest(latency_bins, latency_counts) as binned (bin, n)
        group by period, query_type, bin
    ) as merged
    group by period, query_type
),

sketches as (
    select period, query_type, array_agg(entry) as users
    from (
        select period, query_type, max(entry) as entry
        from ops.query_stats_daily, unnest(users) as entry
        group by period, query_type, entry / 64
    ) as merged
    group by period, query_type
)

select
    period, query_type, queries, cache_hits, cache_hits / queries::double precision as hit_rate,
    ops.latency_percentile(bins, counts, 0.5) as p50_ms,
    ops.latency_percentile(bins, counts, 0.95) as p95_ms,
    ops.latency_percentile(bins, counts, 0.99) as p99_ms,
    round(ops.distinct_users(users))::bigint as users
from totals
left join bins using (period, query_type)
left join sketches using (period, query_type);
