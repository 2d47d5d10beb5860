"""Feature flags: changed together with a row that says by whom, or not at all; and the schema as Dagster sees it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from ops_workflows.definitions import defs
from ops_workflows.errors import ConfigurationError, RefusedError
from ops_workflows.schema.apply import migrate_up
from ops_workflows.schema.flags import Change, flags, parse_conditions, set_flag
from ops_workflows.settings import Settings
from tests.support.command import as_environment, ops_here
from tests.support.schema import MIGRATIONS, Database, own_database, rows, write

AUDIT = (
    "select old_values, new_values, user_agent from audit_log where entity_type = 'feature_flag' order by created_at"
)
TIMEOUT = 10


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    with own_database(settings) as made:
        yield made


@pytest.fixture
def own(settings: Settings, database: Database) -> Settings:
    migrate_up(database.owner, MIGRATIONS)
    return pointed(settings, database)


def pointed(settings: Settings, database: Database) -> Settings:
    given = {"owner_dsn": SecretStr(database.owner), "upkeep_dsn": SecretStr(database.upkeep)}
    return settings.model_copy(update=given | {"migrations_dir": MIGRATIONS})


def test_a_change_is_made_with_a_row_that_says_by_whom(own: Settings, database: Database, tmp_path: Path) -> None:
    listed = json.loads(ops_here(own, tmp_path, "flags", "list", "--json").out)
    name = listed[0]["name"]
    done = ops_here(own, tmp_path, "flags", "set", name, "--on", "--rollout", "25", "--conditions", '{"country": "IN"}')
    assert done.code == 0, done
    assert "rollout_percentage was" in done.out
    (flag,) = [flag for flag in flags(database.upkeep, timeout=TIMEOUT) if flag.name == name]
    assert (flag.enabled, flag.rollout_percentage, flag.conditions) == (True, 25, {"country": "IN"})
    ((old, new, who),) = rows(database.upkeep, AUDIT)
    assert isinstance(old, dict)
    assert isinstance(new, dict)
    assert old["name"] == new["name"] == name
    assert new["rollout_percentage"] == 25
    assert "@" in str(who)
    assert who == flag.updated_by

    again = ops_here(own, tmp_path, "flags", "set", name, "--rollout", "25")
    assert again.code == 0
    assert "is so already" in again.out
    assert len(rows(database.upkeep, AUDIT)) == 1


def test_what_cannot_be_changes_nothing(own: Settings, database: Database, tmp_path: Path) -> None:
    before = flags(database.upkeep, timeout=TIMEOUT)
    name = before[0].name
    with pytest.raises(RefusedError, match="There is no feature flag 'none'"):
        set_flag(database.upkeep, "none", Change(enabled=True), timeout=TIMEOUT)
    for rollout in (-1, 101):
        with pytest.raises(ConfigurationError, match=f"A rollout of {rollout} % cannot be"):
            set_flag(database.upkeep, name, Change(rollout_percentage=rollout), timeout=TIMEOUT)
    for text in ("{", "[1]", "null"):
        with pytest.raises(ConfigurationError, match="conditions"):
            parse_conditions(text)
    nothing = ops_here(own, tmp_path, "flags", "set", name)
    assert nothing.code == 1
    assert "Say what to change" in nothing.err
    assert flags(database.upkeep, timeout=TIMEOUT) == before
    assert rows(database.upkeep, AUDIT) == []


def test_before_the_schema_is_there(database: Database) -> None:
    with pytest.raises(RefusedError, match="ops migrate up"):
        flags(database.upkeep, timeout=TIMEOUT)


def test_the_job_changes_one(own: Settings, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in as_environment(own).items():
        monkeypatch.setenv(name, value)
    (flag, *_) = flags(database.upkeep, timeout=TIMEOUT)
    config = {"name": flag.name, "rollout_percentage": 7}
    done = defs.resolve_job_def("set_feature_flag").execute_in_process(
        run_config={"ops": {"change_feature_flag": {"config": config}}}
    )
    assert done.success
    assert flags(database.upkeep, timeout=TIMEOUT)[0].rollout_percentage == 7
    assert len(rows(database.upkeep, AUDIT)) == 1


def test_the_asset_says_where_the_schema_stands(
    settings: Settings, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, up1="create table t1 ();", up2="create table t2 ();")
    migrate_up(database.owner, tmp_path, limit=1)
    own = pointed(settings, database).model_copy(update={"migrations_dir": tmp_path})
    for name, value in as_environment(own).items():
        monkeypatch.setenv(name, value)

    def checks() -> dict[str, bool]:
        done = defs.resolve_job_def("observe_schema").execute_in_process()
        return {each.check_name: each.passed for each in done.get_asset_check_evaluations()}

    assert checks() == {"no_pending": False, "not_dirty": True, "no_drift": True}
    migrate_up(database.owner, tmp_path)
    assert checks() == {"no_pending": True, "not_dirty": True, "no_drift": True}
    write(tmp_path, up1="create table t1 (x int);")
    rows(database.owner, "update schema_migrations set dirty = true returning 1")
    assert checks() == {"no_pending": True, "not_dirty": False, "no_drift": False}
