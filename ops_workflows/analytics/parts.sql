-- The parts of the query log: its partitions, each with its bounds (none for the default one) and with counters that are
-- different whenever something was written to it. The counters are null where they cannot be relied upon.
with recursive log as (
    select
        c.oid,
        c.relkind = 'p' as is_partitioned,
        coalesce(p.partstrat = 'r' and p.partnatts = 1 and p.partattrs[0] = a.attnum, false) as by_time
    from pg_class as c
    join pg_attribute as a on a.attrelid = c.oid and a.attname = 'created_at'
    left join pg_partitioned_table as p on p.partrelid = c.oid
    where c.oid = 'public.query_log'::regclass
),

parts as (
    select
        h.inhrelid as part,
        log.by_time and pg_get_expr(c.relpartbound, c.oid) = 'DEFAULT' as is_default,
        case when log.by_time then regexp_match(
            pg_get_expr(c.relpartbound, c.oid), $$^FOR VALUES FROM \('?(.+?)'?\) TO \('?(.+?)'?\)$$
        ) end as bounds
    from log
    join pg_inherits as h on log.is_partitioned and h.inhparent = log.oid and not h.inhdetachpending
    join pg_class as c on c.oid = h.inhrelid
    union all
    select oid, false, null from log where not is_partitioned
),

relations (part, oid) as (
    select part, part from parts
    union all
    select relations.part, h.inhrelid from relations join pg_inherits as h on h.inhparent = relations.oid
),

-- Counters begin anew when they are reset, after a crash, and on a standby that is promoted; and they stand still for a
-- role that has them switched off.
counting as (
    select
        concat_ws(
            ' ',
            left(pg_walfile_name(pg_current_wal_lsn()), 8),
            extract(epoch from (select stats_reset from pg_stat_bgwriter)),
            extract(epoch from (select stats_reset from pg_stat_database where datname = current_database()))
        ) as since,
        current_setting('track_counts')::bool and not exists (
            select from pg_db_role_setting, unnest(setconfig) as setting where lower(setting) like 'track\_counts=%%'
        ) as is_on
),

counters as (
    select
        relations.part,
        bool_and(c.relkind in ('r', 'p')) as is_known,
        string_agg(
            format(
                '%%s/%%s +%%s ~%%s -%%s', c.oid, c.relfilenode,
                pg_stat_get_tuples_inserted(c.oid), pg_stat_get_tuples_updated(c.oid), pg_stat_get_tuples_deleted(c.oid)
            ),
            ' ' order by c.oid
        ) as read
    from relations
    join pg_class as c on c.oid = relations.oid
    group by relations.part
)

select
    parts.part::regclass::text as name,
    parts.is_default,
    -- Within what a clock shows, for Python's sake.
    case
        when bounds is null or bounds[1] = 'MINVALUE' then %(oldest)s
        else least(greatest(bounds[1]::timestamptz, %(oldest)s), %(newest)s)
    end as lower,
    case
        when bounds is null or bounds[2] = 'MAXVALUE' then %(newest)s
        else least(greatest(bounds[2]::timestamptz, %(oldest)s), %(newest)s)
    end as upper,
    case when counting.is_on and counters.is_known then counting.since || ' ' || counters.read end as counters
from parts
join counters using (part)
cross join counting
order by lower, name
