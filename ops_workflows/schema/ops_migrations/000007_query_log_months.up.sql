-- Months of the query log that were dropped, or are about to be: what each held, and what its going rests on.
create table ops.query_log_months (
    month      timestamptz not null, -- its beginning (UTC)
    relation   oid not null,         -- of the partition; a month that is made again has another
    name       text not null,        -- of the partition, in schema public
    rows       bigint not null,
    bytes      bigint not null,
    backup_id  text not null,        -- proved, and holding as many rows of it
    begun_at   timestamptz not null default clock_timestamp(),
    exported   text,                 -- id of its export in the bucket
    dropped_at timestamptz,          -- null while it is at work, or was killed
    primary key (month, relation)
);

do $$
begin
    if exists (select from pg_roles where rolname = 'ops_upkeep') then
        -- Whoever writes here says what the owner attaches to the log.
        revoke insert, update, delete on ops.query_log_months from ops_upkeep;
        grant select on ops.query_log_months to ops_upkeep;
    end if;
    if exists (select from pg_roles where rolname = 'ops_backup') then
        grant select on ops.query_log_months to ops_backup;
    end if;
end
$$;
