-- Statistics of the days from %(first)s to before %(end)s, merged by {by}; of days that are not merged yet, of their hours.
with stats as (
    select {by}::text as key, part.*
    from (
        select * from ops.query_stats_daily
        union all
        select hourly.*
        from ops.query_stats_hourly as hourly
        where not exists (
            select from ops.query_stats_daily as daily
            where daily.period = date_bin('1 day', hourly.period, timestamptz '2000-01-01 00:00Z')
        )
    ) as part
    where period >= %(first)s and period < %(end)s
),

bins as (
    select key, array_agg(bin order by bin) as bins, array_agg(n order by bin) as counts
    from (
        select key, bin, sum(n)::bigint as n
        from stats, unnest(latency_bins, latency_counts) as binned (bin, n)
        group by key, bin
    ) as merged
    group by key
),

sketches as (
    select key, array_agg(entry) as users
    from (
        select key, max(entry) as entry from stats, unnest(users) as entry group by key, entry / 64
    ) as merged
    group by key
)

select
    key, sum(queries)::bigint, coalesce(sum(queries) filter (where cache_hit), 0)::bigint,
    coalesce(bins.bins, '{{}}'), coalesce(bins.counts, '{{}}'), coalesce(sketches.users, '{{}}')
from stats
left join bins using (key)
left join sketches using (key)
group by key, bins.bins, bins.counts, sketches.users
order by key
