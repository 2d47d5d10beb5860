-- What was done to the schemas of this database, one row for each attempt at a file. schema_migrations knows the newest
-- version only, and nothing of what led to it.
create table ops.migration_history (
    id                bigint generated always as identity primary key,
    ledger            text not null,              -- the schema whose schema_migrations it moved
    version           bigint not null,            -- of the file
    direction         text not null check (direction in ('up', 'down', 'force', 'baseline')),
    name              text not null,
    sha256            text not null,              -- of the file's bytes, hex; empty where no file was run
    who               text not null,
    started_at        timestamptz not null,
    finished_at       timestamptz,
    lock_wait_seconds double precision not null default 0,
    result            text not null check (result in ('running', 'applied', 'failed')),
    statements_done   integer not null default 0, -- of a file that is run statement by statement
    said              text not null default '',   -- why it failed
    restore_point     text not null default '',   -- set before the run it belongs to, where that was allowed
    restore_lsn       pg_lsn,                     -- `ops restore --to` this place goes back to just before the run
    backup            text not null default '',   -- the backup that the run rests on
    rehearsal         text not null default ''    -- the rehearsal that it rests on
);
create index migration_history_version_idx on ops.migration_history (ledger, version, id);

do $$
begin
    if exists (select from pg_roles where rolname = 'ops_upkeep') then
        revoke insert, update, delete on ops.migration_history from ops_upkeep;
    end if;
    if exists (select from pg_roles where rolname = 'ops_backup') then
        grant select on ops.migration_history to ops_backup;
    end if;
end
$$;
