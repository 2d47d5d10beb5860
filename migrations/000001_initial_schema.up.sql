-- The Panchangam application's schema. PostgreSQL 15 to 18; the whole file is one transaction.
--
-- Tables, columns and enums are those of the application's first schema. Mended here:
--   * no index repeats what a unique constraint already indexes;
--   * the cache's unique key treats NULLs as equal, so that a calculation without a variation is cached once;
--   * a cached calculation always expires: expires_at is NOT NULL and has a default;
--   * query_log is partitioned by month, so that old months are dropped in milliseconds rather than deleted row by row.

create extension if not exists pg_trgm;

-- Existing clients may call uuid_generate_v4() themselves; this schema needs only the built-in gen_random_uuid(). So a
-- server whose uuid-ossp is not installed, or lacks its library (libossp-uuid), is warned about rather than refused.
do $$
begin
    create extension if not exists "uuid-ossp";
exception
    when undefined_file or feature_not_supported then
        raise warning 'Extension uuid-ossp is left out, since this server cannot load it: %', sqlerrm;
end
$$;

create type calculation_system as enum ('purnimanta', 'amanta');
create type regional_variation as enum (
    'north_indian', 'south_indian', 'telugu', 'tamil', 'malayalam', 'kannada'
);

create function set_updated_at() returns trigger
language plpgsql as $$
begin
    new.updated_at := now();
    return new;
end
$$;

create table users (
    id          uuid primary key default gen_random_uuid(),
    username    text not null unique,
    email       text not null unique,
    created_at  timestamptz not null default now(),
    updated_at  timestamptz not null default now(),
    last_login  timestamptz,
    is_active   boolean not null default true,
    preferences jsonb not null default '{}'
);

create table user_preferences (
    id                 uuid primary key default gen_random_uuid(),
    user_id            uuid not null unique references users (id) on delete cascade,
    timezone           text not null default 'UTC',
    latitude           numeric(10, 8) check (latitude between -90 and 90),
    longitude          numeric(11, 8) check (longitude between -180 and 180),
    location_name      text,
    calculation_system calculation_system not null default 'purnimanta',
    regional_variation regional_variation not null default 'north_indian',
    language           text not null default 'en',
    created_at         timestamptz not null default now(),
    updated_at         timestamptz not null default now()
);

create table panchangam_cache (
    id                 uuid primary key default gen_random_uuid(),
    cache_key          varchar(512) not null unique,
    date               date not null,
    latitude           numeric(10, 8) not null check (latitude between -90 and 90),
    longitude          numeric(11, 8) not null check (longitude between -180 and 180),
    timezone           text not null,
    calculation_system calculation_system,
    regional_variation regional_variation,
    data               jsonb not null,
    created_at         timestamptz not null default now(),
    expires_at         timestamptz not null default now() + interval '30 days',
    constraint panchangam_cache_calculation_key unique nulls not distinct (
        date, latitude, longitude, timezone, calculation_system, regional_variation
    )
);
-- Pruning walks this index from its old end.
create index panchangam_cache_expires_at_idx on panchangam_cache (expires_at);

-- A partitioned table's primary key must hold the partition key; id alone is unique in practice, being random.
create table query_log (
    id                 uuid not null default gen_random_uuid(),
    user_id            uuid references users (id) on delete set null,
    query_type         text not null,
    latitude           numeric(10, 8),
    longitude          numeric(11, 8),
    date               date,
    timezone           text,
    calculation_system calculation_system,
    response_time_ms   integer check (response_time_ms >= 0),
    cache_hit          boolean not null default false,
    created_at         timestamptz not null default now(),
    primary key (id, created_at)
) partition by range (created_at);
-- Rows arrive in the order of time, so a block range index serves rollups at a thousandth of a btree's size.
create index query_log_created_at_idx on query_log using brin (created_at) with (pages_per_range = 32);
-- Serves "my history", and ON DELETE SET NULL, which would otherwise read every partition for each user deleted.
create index query_log_user_id_idx on query_log (user_id, created_at) where user_id is not null;

-- Rows whose month nobody has created yet are kept here rather than refused.
create table query_log_default partition of query_log default;

-- Creates the monthly partitions (UTC) from the month of `first` to the month of `last` that do not exist yet, and
-- returns how many it created. A month whose rows already lie in query_log_default is refused by PostgreSQL.
create function create_query_log_months(first timestamptz, last timestamptz) returns integer
language plpgsql as $$
declare
    -- Plain timestamps in UTC: the session's time zone has no say in where a month begins.
    month   timestamp := date_trunc('month', first at time zone 'UTC');
    name    text;
    created integer := 0;
begin
    while month <= last at time zone 'UTC' loop
        name := 'query_log_' || to_char(month, 'YYYY_MM');
        if to_regclass(format('public.%I', name)) is null then
            execute format(
                'create table public.%I partition of public.query_log for values from (%L) to (%L)',
                name, month at time zone 'UTC', (month + interval '1 month') at time zone 'UTC'
            );
            created := created + 1;
        end if;
        month := month + interval '1 month';
    end loop;
    return created;
end
$$;

select create_query_log_months(now() - interval '3 months', now() + interval '3 months');

create table locations (
    id             uuid primary key default gen_random_uuid(),
    name           text not null,
    latitude       numeric(10, 8) not null check (latitude between -90 and 90),
    longitude      numeric(11, 8) not null check (longitude between -180 and 180),
    timezone       text not null,
    country        text not null,
    state_province text,
    is_popular     boolean not null default false,
    created_at     timestamptz not null default now(),
    unique (name, country)
);
create index locations_name_trgm_idx on locations using gin (name gin_trgm_ops);
create index locations_popular_idx on locations (name) where is_popular;

create table feature_flags (
    id                 uuid primary key default gen_random_uuid(),
    name               text not null unique,
    description        text,
    enabled            boolean not null default false,
    rollout_percentage integer not null default 0 check (rollout_percentage between 0 and 100),
    conditions         jsonb not null default '{}',
    created_at         timestamptz not null default now(),
    updated_at         timestamptz not null default now(),
    updated_by         text
);

create table api_keys (
    id           uuid primary key default gen_random_uuid(),
    user_id      uuid not null references users (id) on delete cascade,
    key_hash     text not null unique,
    name         text not null,
    scopes       jsonb not null default '[]',
    is_active    boolean not null default true,
    last_used_at timestamptz,
    expires_at   timestamptz,
    created_at   timestamptz not null default now(),
    rate_limit   integer not null default 1000 check (rate_limit >= 0)
);
create index api_keys_user_id_idx on api_keys (user_id);

create table audit_log (
    id          uuid primary key default gen_random_uuid(),
    user_id     uuid references users (id) on delete set null,
    action      text not null,
    entity_type text,
    entity_id   uuid,
    old_values  jsonb,
    new_values  jsonb,
    ip_address  inet,
    user_agent  text,
    created_at  timestamptz not null default now()
);
create index audit_log_user_id_idx on audit_log (user_id) where user_id is not null;
create index audit_log_entity_idx on audit_log (entity_type, entity_id);
create index audit_log_created_at_idx on audit_log using brin (created_at);

create trigger users_set_updated_at before update on users
    for each row execute function set_updated_at();
create trigger user_preferences_set_updated_at before update on user_preferences
    for each row execute function set_updated_at();
create trigger feature_flags_set_updated_at before update on feature_flags
    for each row execute function set_updated_at();
