"""A database is held against what its migration files make of an empty one, in a server of the test's own."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops_workflows.errors import ConfigurationError, RefusedError
from ops_workflows.postgres.connection import connect
from ops_workflows.schema.apply import migrate_down, migrate_up
from ops_workflows.schema.files import read_migrations
from ops_workflows.schema.foreign import truth
from ops_workflows.schema.kept_catalogues import KeptCatalogues
from ops_workflows.schema.plan import NOTHING, Position
from ops_workflows.schema.reference import catalogue_drift, produced
from ops_workflows.settings import Settings
from tests.support.schema import MIGRATIONS, Database, own_database, write

FOLLOWED_BY = ", against what the migration files up to 2 make."
UP = {
    "up1": "create table a (id bigint generated always as identity primary key, x text not null);",
    "down1": "drop table a;",
    "up2": "create table b (x int);",
    "down2": "drop table b;",
    "up3": "create index a_x on a (x);",
    "down3": "drop index a_x;",
}


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    with own_database(settings) as made:
        yield made


@pytest.fixture(scope="module")
def migrated(settings: Settings) -> Iterator[Database]:
    with own_database(settings) as made:
        migrate_up(made.owner, MIGRATIONS)
        yield made


@pytest.fixture
def files(tmp_path: Path) -> Path:
    return write(tmp_path, **UP)


def run(dsn: str, *statements: str) -> None:
    with connect(dsn) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def drift_of(settings: Settings, database: Database, directory: Path = MIGRATIONS) -> list[str]:
    return [said.partition(", against")[0] for said in catalogue_drift(settings, database.owner, directory)]


def leave_dirty(database: Database, version: int) -> Position:
    """As golang-migrate does before it sends a file."""
    run(
        database.owner,
        "create table if not exists schema_migrations (version bigint not null primary key, dirty boolean not null)",
        "truncate schema_migrations",
        f"insert into schema_migrations values ({version}, true)",
    )
    return Position(version, dirty=True)


def proven(settings: Settings, database: Database, files: Path, version: int) -> int | None:
    found = truth(settings, database.owner, read_migrations(files), leave_dirty(database, version))
    assert found is None or not found.dirty
    return found.version if found else None


def test_what_was_migrated_has_not_drifted_nor_has_what_went_down_and_up_again(
    settings: Settings, migrated: Database
) -> None:
    assert drift_of(settings, migrated) == []
    migrate_down(migrated.owner, MIGRATIONS, steps=2)
    migrate_up(migrated.owner, MIGRATIONS)
    assert drift_of(settings, migrated) == []


def test_what_migrations_do_not_decide_is_no_drift(settings: Settings, migrated: Database) -> None:
    run(
        migrated.superuser,
        "create extension pg_stat_statements",
        "grant select on users to ops_backup",
        "alter table locations owner to postgres",
        "alter table users add column short_lived int",
        "alter table users drop column short_lived",
        "select create_query_log_months('2040-01-01', '2040-03-01')",  # upkeep makes them ahead of time
        "create index on query_log_2040_01 (query_type)",
        "drop table query_log_2040_02",
    )
    assert drift_of(settings, migrated) == []


def test_what_was_taken_away_by_hand_is_named_once(settings: Settings, database: Database) -> None:
    migrate_up(database.owner, MIGRATIONS, limit=2)
    run(
        database.superuser,
        "alter table users drop column last_login",
        "drop index api_keys_user_id_idx",
        "alter table users drop constraint users_email_key",
        "drop table query_log_default",
        "drop table audit_log",
        "drop extension pg_trgm cascade",
    )
    assert drift_of(settings, database) == [
        "Column public.users.last_login is missing",
        "Constraint users_email_key on public.users is missing",
        "Extension pg_trgm is missing",
        "Index public.api_keys_user_id_idx on public.api_keys is missing",
        "Index public.locations_name_trgm_idx on public.locations is missing",
        "Relation public.audit_log is missing",
        "Relation public.query_log_default is missing",
    ]


def test_what_was_added_or_altered_by_hand_is_named_once(settings: Settings, database: Database) -> None:
    migrate_up(database.owner, MIGRATIONS, limit=2)
    run(
        database.owner,
        "alter table panchangam_cache add x int",
        "create table extra (id serial primary key, u uuid not null references users)",
        "create domain short as text check (length(value) < 9)",
        "alter table users alter column email drop not null",
        "alter table api_keys drop constraint api_keys_rate_limit_check",
        "alter table api_keys add constraint api_keys_rate_limit_check check (rate_limit >= 0) not valid",
        "create or replace function set_updated_at() returns trigger language plpgsql as $$ begin return new; end $$",
        "alter table audit_log enable row level security",
        "alter table users disable trigger users_set_updated_at",
        "alter type regional_variation add value 'odia'",
    )
    said = [
        "Column public.panchangam_cache.x is unexpected",
        "Relation public.extra is unexpected",
        "Type public.short is unexpected",
        "Column public.users.email differs",
        "Constraint api_keys_rate_limit_check on public.api_keys differs",
        "Function public.set_updated_at() differs",
        "Relation public.audit_log differs",
        "Trigger users_set_updated_at on public.users differs",
        "Type public.regional_variation differs",
    ]
    assert catalogue_drift(settings, database.owner, MIGRATIONS) == [f"{each}{FOLLOWED_BY}" for each in said]
    run(database.owner, *(f"create table extra_{number} ()" for number in range(5)))
    told = catalogue_drift(settings, database.owner, MIGRATIONS)
    assert (len(told), told[-1]) == (11, "Nor are 4 further objects what these files make.")


def test_what_cannot_be_told_is_an_error(settings: Settings, database: Database, files: Path, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="has recorded no migration"):
        catalogue_drift(settings, database.owner, files)
    migrate_up(database.owner, files)
    (files / "000003_step.up.sql").rename(files / "000004_step.up.sql")
    (files / "000003_step.down.sql").unlink()
    with pytest.raises(RefusedError, match="There is no migration 3"):
        catalogue_drift(settings, database.owner, files)
    leave_dirty(database, 2)
    with pytest.raises(RefusedError, match="is dirty at version 2"):
        catalogue_drift(settings, database.owner, files)
    run(database.owner, "update schema_migrations set dirty = false")
    with pytest.raises(ConfigurationError, match="has no program “postgres”"):
        catalogue_drift(settings.model_copy(update={"pg_bin_dir": tmp_path}), database.owner, files)
    write(files, up2="create table b (x int references nowhere);")
    with pytest.raises(RefusedError, match=r"files up to 2 make .* cannot be told: .*line 1: relation \"nowhere\""):
        catalogue_drift(settings, database.owner, files)


def test_the_search_path_of_the_role_says_where_the_files_make_their_objects(
    settings: Settings, database: Database, files: Path
) -> None:
    with connect(database.superuser) as connection:
        name = connection.info.dbname
    run(
        database.superuser,
        'create schema "App é" authorization ops_owner',
        f'alter role ops_owner in database {name} set search_path = "App é", public',
    )
    migrate_up(database.owner, files)
    assert catalogue_drift(settings, database.owner, files) == []
    made = produced(settings, database.owner, read_migrations(files), [3])[3]
    assert 'relation "App é".a' in made


def test_a_catalogue_that_was_made_is_kept_and_a_damaged_one_is_made_anew(
    settings: Settings, database: Database, files: Path, tmp_path: Path
) -> None:
    own = settings.model_copy(update={"home": tmp_path / "home", "scratch_dir": settings.scratch})
    unable = own.model_copy(update={"pg_bin_dir": tmp_path})
    migrations = read_migrations(files)
    first = produced(own, database.owner, migrations, [1, 2, 3, NOTHING])
    assert list(map(len, (first[version] for version in (NOTHING, 1, 2, 3)))) == sorted(map(len, first.values()))
    assert len({len(objects) for objects in first.values()}) == 4
    assert produced(unable, database.owner, migrations, [3, 1, 2, NOTHING]) == first
    for content in (b"", b"[]", b"{", json.dumps({"key": "x", "objects": {"relation a": "1"}}).encode(), b"\xff"):
        for kept in (tmp_path / "home/catalogues").iterdir():
            kept.write_bytes(content)
        with pytest.raises(ConfigurationError):
            produced(unable, database.owner, migrations, [1])
    assert produced(own, database.owner, migrations, [1]) == {1: first[1]}
    write(files, up1=UP["up1"] + " -- altered")
    with pytest.raises(ConfigurationError):
        produced(unable, database.owner, migrations, [1])


def test_of_the_catalogues_that_were_kept_the_oldest_go(tmp_path: Path) -> None:
    kept = KeptCatalogues(tmp_path / "catalogues")
    for number in range(8):
        kept.put(f"{number}", {"relation a": f"{number}"})
        os.utime(tmp_path / f"catalogues/{number}.json", (number, number))
    assert kept.get("0") == {"relation a": "0"}  # which is as if it were new
    kept.put("8", {"relation a": "8"})
    assert [number for number in range(9) if kept.get(f"{number}") is None] == [1]


@pytest.mark.parametrize(
    "case",  # files that were carried out, the version that is recorded, what is true
    [
        (0, 1, NOTHING),  # up failed: nothing of it was done
        (1, 1, 1),  # up was done, or down from 2 was
        (2, 1, 2),  # down from 2 failed
        (1, 2, 1),
        (3, 2, 3),
        (3, 3, 3),
        (1, NOTHING, 1),  # down from the first failed
        (0, NOTHING, NOTHING),
        (3, 1, None),  # none of those that a file may have led to
        (0, 3, None),
        (1, 7, None),  # without a file
    ],
)
def test_what_golang_migrate_left_dirty_is_told_by_the_catalogue(
    settings: Settings, database: Database, files: Path, case: tuple[int, int, int | None]
) -> None:
    applied, dirty, true = case
    run(database.owner, *(UP[f"up{version}"] for version in range(1, applied + 1)))
    assert proven(settings, database, files, dirty) == true


def test_what_the_catalogue_does_not_show_is_left_to_a_person(
    settings: Settings, database: Database, files: Path
) -> None:
    write(files, up2="insert into a (x) values ('seed');", down2="delete from a;")
    run(database.owner, UP["up1"])
    assert proven(settings, database, files, 2) is None  # whether the row is there, a catalogue does not say
    run(database.owner, UP["up3"])
    assert proven(settings, database, files, 2) == 3  # the way down from 3 was begun, and not done


def test_a_file_that_may_stop_half_way_proves_nothing(settings: Settings, database: Database, files: Path) -> None:
    run(database.owner, UP["up1"], UP["up2"])
    assert proven(settings, database, files, 2) == 2
    write(files, down3="drop index concurrently a_x;")
    assert proven(settings, database, files, 2) is None


def test_what_somebody_changed_besides_proves_nothing(settings: Settings, database: Database, files: Path) -> None:
    run(database.owner, UP["up1"], UP["up2"], "alter table a add by_hand int")
    assert proven(settings, database, files, 2) is None


def test_a_clean_version_is_not_asked_about(settings: Settings, database: Database, files: Path) -> None:
    migrate_up(database.owner, files)
    assert truth(settings, database.owner, read_migrations(files), Position(3)) is None
