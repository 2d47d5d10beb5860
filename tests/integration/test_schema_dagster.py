"""The schema's assets and jobs as Dagster runs them, and `ops migrate` as a person types it, on one database."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
from pydantic import SecretStr

from ops_workflows.definitions import defs
from ops_workflows.postgres.connection import connect
from ops_workflows.schema.defs import schema_version
from ops_workflows.settings import Settings
from tests.support.command import as_environment, ops_here
from tests.support.schema import Database, own_database, rows, write

TRAFFIC = "-- name: what is there\n-- weight: 1\nSELECT count(*) FROM a;\n"


@dataclass(frozen=True)
class Place:
    """Where everything is, one database for all tests of this file."""

    database: Database
    settings: Settings
    folder: Path
    migrations: Path


@pytest.fixture(scope="module")
def place(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("schema")
    (migrations := folder / "migrations").mkdir()
    (folder / "traffic.sql").write_text(TRAFFIC)
    with own_database(settings) as database:
        changed = {
            "owner_dsn": SecretStr(database.owner),
            "upkeep_dsn": SecretStr(database.upkeep),
            "migrations_dir": migrations,
            "traffic_file": folder / "traffic.sql",
        }
        yield Place(database, settings.model_copy(update=changed), folder, migrations)


@pytest.fixture(autouse=True)
def here(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in as_environment(place.settings).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(place.folder)


def run(job: str, **config: Mapping[str, object]) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.ephemeral() as instance:
        ops = {name: {"config": dict(values)} for name, values in config.items()}
        return defs.get_job_def(job).execute_in_process(
            run_config={"ops": ops}, instance=instance, raise_on_error=False
        )


def failure(done: dg.ExecuteInProcessResult) -> tuple[str, str]:
    """What was said, and the gate as a table."""
    data = next(event.step_failure_data for event in done.all_events if event.is_step_failure)
    assert data.user_failure_data is not None
    gate = data.user_failure_data.metadata["gate"].value
    return str(data.user_failure_data.description), str(gate)


def checks() -> dict[str, tuple[bool, str]]:
    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize([schema_version], instance=instance)
    return {each.check_name: (each.passed, each.description or "") for each in done.get_asset_check_evaluations()}


def test_a_new_database_is_migrated_by_the_job_and_then_agrees_with_its_files(place: Place) -> None:
    write(place.migrations, up1="create table a (x int primary key);", down1="drop table a;")
    pending = checks()
    assert pending["no_pending"][0] is False
    assert pending["no_drift"][0] is False, "nobody can tell before there is anything"
    assert run("migrate_database").success
    assert {name: passed for name, (passed, _) in checks().items()} == dict.fromkeys(
        ("no_pending", "not_dirty", "no_drift"), True
    )
    assert run("rehearse_migrations").success, "nothing is pending"


def test_what_somebody_changed_by_hand_is_drift(place: Place) -> None:
    with connect(place.database.owner) as connection:
        connection.execute("alter table a add column by_hand int")
        passed, said = checks()["no_drift"]
        connection.execute("alter table a drop column by_hand")
    assert not passed
    assert "Column public.a.by_hand is unexpected" in said


def test_pending_files_go_through_the_gate_and_a_way_back_wants_its_plans_approval(place: Place) -> None:
    write(place.migrations, up2="create table b (x int);", down2="drop table b;")
    rehearsed = run("rehearse_migrations")
    if not rehearsed.success:  # no backup counts as proved yet: the gate takes one, a rehearsal does not
        data = next(event.step_failure_data for event in rehearsed.all_events if event.is_step_failure)
        assert "No backup counts as proved" in str(data.error)
    done = run("migrate_database")
    assert done.success
    assert "| rehearsal | passed |" in str(gate_of(done))
    assert run("rehearse_migrations").success

    said, gate = failure(run("rollback_migration", migrate_back={"steps": 1}))
    assert "destroys what only a backup brings back" in said
    assert "| approval | failed |" in gate
    assert "| rehearsal | passed |" in gate
    digest = said.partition("--approve ")[2][:16]
    assert run("rollback_migration", migrate_back={"steps": 1, "approve": digest}).success
    assert rows(place.database.owner, "select to_regclass('b')") == [(None,)]


def gate_of(done: dg.ExecuteInProcessResult) -> object:
    outputs = [event.step_output_data for event in done.all_events if event.is_successful_output]
    return outputs[0].metadata["gate"].value


def test_the_same_by_hand_with_the_history_and_the_last_gate(place: Place) -> None:
    shown = json.loads(ops_here(place.settings, place.folder, "migrate", "plan", "--json").out)
    assert [each["file"] for each in shown["files"]] == ["000002_step.up.sql"]
    report = place.folder / "rehearsal.json"
    ended = ops_here(place.settings, place.folder, "migrate", "rehearse", "--report", str(report))
    assert ended.code == 0, ended.err
    assert "✓ applies: 1 file, from version 1 to 2." in ended.out
    assert json.loads(report.read_text())["plan"] == shown["plan"]
    ended = ops_here(place.settings, place.folder, "migrate", "up")
    assert ended.code == 0, ended.err
    assert "passed  rehearsal: Rehearsal" in ended.err
    assert ended.out.endswith("1 applied.\n")
    known = json.loads(ops_here(place.settings, place.folder, "migrate", "history", "--json").out)
    assert [each["direction"] for each in known["history"]] == ["up", "up", "down", "up"]
    assert known["history"][-1]["rehearsal"] == json.loads(report.read_text())["id"]
    assert known["gate"]["passed"] is True
    ended = ops_here(place.settings, place.folder, "migrate", "history")
    assert "The last time at the gate" in ended.out
    assert ops_here(place.settings, place.folder, "migrate", "status", "--catalogue").code == 0


@pytest.mark.parametrize("done", [True, False])
def test_a_version_that_golang_migrate_left_dirty_is_settled_where_the_catalogue_proves_it(
    place: Place, done: bool
) -> None:
    """As it leaves it when it is killed before, or behind, its file."""
    write(place.migrations, up3="create table c (x int);", down3="drop table c;")
    with connect(place.database.owner) as connection:
        connection.execute("update schema_migrations set version = 3, dirty = true")
        if done:
            connection.execute("create table c (x int)")
    ended = ops_here(place.settings, place.folder, "migrate", "up", "--ungated", "the test is of what is true")
    assert ended.code == 0, ended.err
    assert f"Its catalogue is that of version {3 if done else 2}" in ended.err
    assert rows(place.database.owner, "table schema_migrations") == [(3, False)]
    assert rows(place.database.owner, "select to_regclass('c') is not null") == [(True,)]
    with connect(place.database.owner) as connection:
        connection.execute("drop table c; update schema_migrations set version = 2")
        connection.execute("delete from ops.migration_history where version = 3")
