-- The query log as small statistics that merge: hours into days, and any of them into any longer time.

-- Each hour (UTC) that was rolled up, in as many rows as there are combinations of what was asked.
create table ops.query_stats_hourly (
    period             timestamptz not null, -- its beginning
    query_type         text not null,
    calculation_system text not null,        -- `none` where the query named none
    cache_hit          boolean not null,
    region             text not null,        -- south-west corner of 10 by 10 degrees, N20E070; `unknown` without a place
    user_kind          text not null check (user_kind in ('known', 'anonymous')),
    queries            bigint not null,
    errors             bigint,               -- null where the log does not know of any
    timed              bigint not null,      -- queries that have a response time
    sum_ms             numeric,
    min_ms             integer,
    max_ms             integer,
    -- Response times in logarithmic bins: bin b holds those above g^(b-1) up to g^b milliseconds, g = 1.01/0.99, and
    -- bin -1 those of zero. A percentile read from them is within 1 %. To merge: add the counts of each bin.
    latency_bins       smallint[] not null,
    latency_counts     bigint[] not null,
    -- Distinct known users, as the registers of a HyperLogLog that are not zero: 64 * register + rank, of 4096 registers.
    -- Its standard error is 1.6 %. To merge: keep the largest of each register.
    users              integer[] not null,
    primary key (period, query_type, calculation_system, cache_hit, region, user_kind)
);

-- Each day (UTC), merged from its hours.
create table ops.query_stats_daily (like ops.query_stats_hourly including all);

-- What was rolled up, and from how many rows: a period whose rows are more by now has to be rolled up again.
create table ops.query_stats_periods (
    grain        text not null check (grain in ('hour', 'day')),
    period       timestamptz not null,
    raw_rows     bigint not null,
    rolled_up_at timestamptz not null,
    primary key (grain, period)
);

do $$
begin
    if exists (select from pg_roles where rolname = 'ops_upkeep') then
        grant usage on schema ops to ops_upkeep;
        grant select, insert, update, delete
            on ops.query_stats_hourly, ops.query_stats_daily, ops.query_stats_periods to ops_upkeep;
    end if;
    if exists (select from pg_roles where rolname = 'ops_backup') then
        grant select on ops.query_stats_hourly, ops.query_stats_daily, ops.query_stats_periods to ops_backup;
    end if;
end
$$;
