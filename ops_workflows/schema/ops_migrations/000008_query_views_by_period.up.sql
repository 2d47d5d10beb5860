-- The views for dashboards look at the periods that are asked for and at no others, and there are views of all queries
-- together, and of hours: a day is there only once it is over and merged.
do $$
declare
    grain text;
begin
    foreach grain in array array['hourly', 'daily'] loop
        -- By period and query type.
        execute format($view$
            create or replace view ops.query_answers_%1$s as
            select
                period, query_type, queries, cache_hits, cache_hits / queries::double precision as hit_rate,
                ops.latency_percentile(bins, counts, 0.5) as p50_ms,
                ops.latency_percentile(bins, counts, 0.95) as p95_ms,
                ops.latency_percentile(bins, counts, 0.99) as p99_ms,
                round(ops.distinct_users(users))::bigint as users
            from (
                select
                    period, query_type, sum(queries)::bigint as queries,
                    coalesce(sum(queries) filter (where cache_hit), 0)::bigint as cache_hits
                from ops.query_stats_%1$s
                group by period, query_type
            ) as totals
            cross join lateral (
                select array_agg(bin order by bin) as bins, array_agg(n order by bin) as counts
                from (
                    select bin, sum(n)::bigint as n
                    from ops.query_stats_%1$s as part, unnest(latency_bins, latency_counts) as binned (bin, n)
                    where part.period = totals.period and part.query_type = totals.query_type
                    group by bin
                ) as merged
            ) as times
            cross join lateral (
                select array_agg(entry) as users
                from (
                    select max(entry) as entry
                    from ops.query_stats_%1$s as part, unnest(users) as entry
                    where part.period = totals.period and part.query_type = totals.query_type
                    group by entry / 64
                ) as merged
            ) as sketch
        $view$, grain);

        -- By period, all queries together: percentiles of the types cannot be averaged, nor their users be added.
        execute format($view$
            create view ops.query_totals_%1$s as
            select
                period, queries, cache_hits, cache_hits / queries::double precision as hit_rate,
                ops.latency_percentile(bins, counts, 0.5) as p50_ms,
                ops.latency_percentile(bins, counts, 0.95) as p95_ms,
                ops.latency_percentile(bins, counts, 0.99) as p99_ms,
                round(ops.distinct_users(users))::bigint as users
            from (
                select
                    period, sum(queries)::bigint as queries,
                    coalesce(sum(queries) filter (where cache_hit), 0)::bigint as cache_hits
                from ops.query_stats_%1$s
                group by period
            ) as totals
            cross join lateral (
                select array_agg(bin order by bin) as bins, array_agg(n order by bin) as counts
                from (
                    select bin, sum(n)::bigint as n
                    from ops.query_stats_%1$s as part, unnest(latency_bins, latency_counts) as binned (bin, n)
                    where part.period = totals.period
                    group by bin
                ) as merged
            ) as times
            cross join lateral (
                select array_agg(entry) as users
                from (
                    select max(entry) as entry
                    from ops.query_stats_%1$s as part, unnest(users) as entry
                    where part.period = totals.period
                    group by entry / 64
                ) as merged
            ) as sketch
        $view$, grain);

        if exists (select from pg_roles where rolname = 'ops_upkeep') then
            execute format(
                'revoke insert, update, delete on ops.query_answers_%1$s, ops.query_totals_%1$s from ops_upkeep', grain
            );
            execute format('grant select on ops.query_answers_%1$s, ops.query_totals_%1$s to ops_upkeep', grain);
        end if;
        if exists (select from pg_roles where rolname = 'ops_backup') then
            execute format('grant select on ops.query_answers_%1$s, ops.query_totals_%1$s to ops_backup', grain);
        end if;
    end loop;
end
$$;
