-- One row each second from whoever writes to the database. What a restore gives back is as fresh as its newest row.
create table ops.heartbeat (
    seq    bigint generated always as identity primary key,
    -- clock_timestamp(), not now(): the moment of writing, not of the transaction's begin.
    at     timestamptz not null default clock_timestamp(),
    sender text not null
);

-- Roles are made by deploy/postgres/roles.sql; a database without them keeps its own arrangement.
do $$
begin
    if exists (select from pg_roles where rolname = 'ops_upkeep') then
        grant usage on schema ops to ops_upkeep;
        grant select, insert, delete on ops.heartbeat to ops_upkeep;
    end if;
    if exists (select from pg_roles where rolname = 'ops_backup') then
        grant usage on schema ops to ops_backup;
        grant select on ops.heartbeat to ops_backup;
    end if;
end
$$;
