-- What came of each step of the gate, one row for each time that a migration wanted to pass it.
create table ops.migration_gates (
    id          bigint generated always as identity primary key,
    ledger      text not null,        -- the schema that was to be migrated
    plan        text not null,        -- digest of what was to be done
    who         text not null,
    started_at  timestamptz not null default clock_timestamp(),
    finished_at timestamptz,          -- null while it runs, or since it was killed
    passed      boolean,
    steps       jsonb not null        -- name, outcome, said and seconds of each, in order
);

do $$
begin
    if exists (select from pg_roles where rolname = 'ops_upkeep') then
        revoke insert, update, delete on ops.migration_gates from ops_upkeep;
    end if;
    if exists (select from pg_roles where rolname = 'ops_backup') then
        grant select on ops.migration_gates to ops_backup;
    end if;
end
$$;
