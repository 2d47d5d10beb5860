-- Rolls up one hour of the query log, %(start)s to before %(end)s, in one reading of it; returns how many rows it held.
with asked as (
    select
        -- An index cannot hold longer ones, and nobody tells them apart.
        coalesce(left(query_type, 200), 'unknown') as query_type,
        coalesce(calculation_system::text, 'none') as calculation_system,
        coalesce(cache_hit, false) as cache_hit,
        -- The place's cell of 18 by 36; the pole and the date line belong to the last cell before them.
        case
            when latitude between -90 and 90 and longitude between -180 and 180
                then least((floor(latitude)::int + 90) / 10, 17) * 36 + least((floor(longitude)::int + 180) / 10, 35)
            else -1
        end as cell,
        user_id is not null as known,
        response_time_ms as ms,
        user_id
    from public.query_log
    where created_at >= %(start)s and created_at < %(end)s
),

counted as (
    select
        query_type, calculation_system, cache_hit, cell, known, ms, user_id, count(*) as n,
        grouping(user_id) = 1 as by_latency
    from asked
    group by grouping sets (
        (query_type, calculation_system, cache_hit, cell, known, ms),
        (query_type, calculation_system, cache_hit, cell, known, user_id)
    )
),

totals as (
    select
        query_type, calculation_system, cache_hit, cell, known,
        sum(n)::bigint as queries,
        coalesce(sum(n) filter (where ms is not null), 0)::bigint as timed,
        sum(n * ms) as sum_ms,
        min(ms) as min_ms,
        max(ms) as max_ms
    from counted
    where by_latency
    group by query_type, calculation_system, cache_hit, cell, known
),

bins as (
    select
        query_type, calculation_system, cache_hit, cell, known,
        array_agg(bin order by bin) as latency_bins,
        array_agg(n order by bin) as latency_counts
    from (
        select
            query_type, calculation_system, cache_hit, cell, known, sum(n)::bigint as n,
            (case when ms > 0 then ceil(ln(ms::float8) / ln(1.01::float8 / 0.99::float8)) else -1 end)::smallint as bin
        from counted
        where by_latency and ms is not null
        group by query_type, calculation_system, cache_hit, cell, known, bin
    ) as binned
    group by query_type, calculation_system, cache_hit, cell, known
),

registers as (
    select
        query_type, calculation_system, cache_hit, cell, known,
        -- The last 12 bits name the register; its rank is the place of the first 1 in the other 52.
        max(
            (hash & 4095)::int * 64
            + coalesce(nullif(position(B'1' in substring(hash::bit(64) from 1 for 52)), 0), 53)
        ) as entry
    from (
        select
            query_type, calculation_system, cache_hit, cell, known,
            hashtextextended(user_id::text, 0) as hash
        from counted
        where not by_latency and user_id is not null
    ) as hashed
    group by query_type, calculation_system, cache_hit, cell, known, hash & 4095
),

sketches as (
    select query_type, calculation_system, cache_hit, cell, known, array_agg(entry order by entry) as users
    from registers
    group by query_type, calculation_system, cache_hit, cell, known
),

written as (
    insert into ops.query_stats_hourly
    select
        %(start)s, query_type, calculation_system, cache_hit,
        case
            when cell < 0 then 'unknown'
            else
                (case when cell / 36 < 9 then 'S' else 'N' end) || to_char(abs(cell / 36 * 10 - 90), 'FM00')
                || (case when mod(cell, 36) < 18 then 'W' else 'E' end)
                || to_char(abs(mod(cell, 36) * 10 - 180), 'FM000')
        end,
        case when known then 'known' else 'anonymous' end,
        queries, null, timed, sum_ms, min_ms, max_ms,
        coalesce(latency_bins, '{}'), coalesce(latency_counts, '{}'), coalesce(users, '{}')
    from totals
    left join bins using (query_type, calculation_system, cache_hit, cell, known)
    left join sketches using (query_type, calculation_system, cache_hit, cell, known)
    returning queries
)

select coalesce(sum(queries), 0)::bigint from written
