-- Parts of the query log (partitions) as they were when they were counted last and agreed with their statistics. One whose
-- counters are the same still has the same rows, and need not be counted again. Losing these rows costs one full count.
create table ops.query_log_marks (
    part          text primary key,
    counters      text not null,        -- of the server's statistics, read before the part was counted
    settled_until timestamptz not null, -- up to where it was counted: rows from later on are looked at all the same
    whole_at      timestamptz not null  -- when the whole log was counted, whatever the counters said; the same in each row
);

do $$
begin
    if exists (select from pg_roles where rolname = 'ops_upkeep') then
        grant select, insert, update, delete on ops.query_log_marks to ops_upkeep;
    end if;
    if exists (select from pg_roles where rolname = 'ops_backup') then
        grant select on ops.query_log_marks to ops_backup;
    end if;
end
$$;
