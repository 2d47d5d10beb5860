-- The statistics of the query log as a dashboard reads them, with the arithmetic that its percentiles and users need.

-- The response time in milliseconds that a share (0 to 1) of the queries stay within; the bins are in ascending order.
create function ops.latency_percentile(bins smallint[], counts bigint[], share double precision)
returns double precision
language sql immutable parallel safe as $$
    with binned as (
        select bin, sum(n) over (order by bin) as upto from unnest(bins, counts) as u (bin, n)
    ),
    place as (
        select share * (max(upto) - 1) as at from binned
    ),
    -- A bin's times are whole milliseconds from low to high; 2 * low * high / (low + high) is within 1 % of them all.
    edges as (
        select
            upto,
            case when bin >= 0 then floor((1.01::float8 / 0.99::float8) ^ (bin - 1)) + 1 end as low,
            case when bin >= 0 then floor((1.01::float8 / 0.99::float8) ^ bin) end as high
        from binned
    ),
    valued as (
        select upto, coalesce(2 * low * high / (low + high), 0) as ms from edges
    ),
    around as (
        select
            at,
            (select ms from valued where upto > floor(at) order by upto limit 1) as lower,
            (select ms from valued where upto > ceil(at) order by upto limit 1) as upper
        from place
    )
    select lower + (upper - lower) * (at - floor(at)) from around
$$;

-- Distinct users of a sketch (Ertl's estimator for HyperLogLog); its standard error is 1.6 %.
create function ops.distinct_users(users integer[]) returns double precision
language plpgsql immutable parallel safe as $$
declare
    registers constant double precision := 4096;
    ranks     integer[] := array_fill(0, array[53]);
    entry     integer;
    total     double precision := 0;
    x         double precision;
    weight    double precision := 1;
    before    double precision := -1;
begin
    if users is null or cardinality(users) = 0 then
        return 0;
    end if;
    foreach entry in array users loop
        ranks[entry & 63] := ranks[entry & 63] + 1;
    end loop;
    -- The share of the registers that are full.
    x := 1 - ranks[53] / registers;
    if x > 0 and x < 1 then
        total := 1 - x;
        while total <> before loop
            x := sqrt(x);
            before := total;
            weight := weight / 2;
            total := total - (1 - x) ^ 2 * weight;
        end loop;
        total := registers * total / 3;
    end if;
    for rank in reverse 52..1 loop
        total := (total + ranks[rank]) / 2;
    end loop;
    -- The share of them that are empty.
    x := 1 - cardinality(users) / registers;
    weight := registers;
    before := -1;
    total := total + registers * x;
    -- Below this a square would underflow, and it adds nothing any more.
    while total <> before and x > 1e-150 loop
        x := x * x;
        before := total;
        total := total + x * weight;
        weight := weight * 2;
    end loop;
    return registers ^ 2 / (2 * ln(2) * total);
end
$$;

-- By day (UTC) and query type, all other dimensions merged.
create view ops.query_answers_daily as
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

-- Distinct users by day (UTC): those of the query types cannot be added, for many ask about several.
create view ops.query_users_daily as
select period, round(ops.distinct_users(array_agg(entry)))::bigint as users
from (
    select period, max(entry) as entry
    from ops.query_stats_daily, unnest(users) as entry
    group by period, entry / 64
) as merged
group by period;

do $$
begin
    if exists (select from pg_roles where rolname = 'ops_upkeep') then
        revoke insert, update, delete on ops.query_answers_daily, ops.query_users_daily from ops_upkeep;
        grant select on ops.query_answers_daily, ops.query_users_daily to ops_upkeep;
    end if;
    if exists (select from pg_roles where rolname = 'ops_backup') then
        grant select on ops.query_answers_daily, ops.query_users_daily to ops_backup;
    end if;
end
$$;
