"""Dagster prunes, keeps the figures whatever fails afterwards, and its checks say what they saw and nothing else."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from valkey import Valkey

from ops_workflows.cache.defs import calculation_cache
from ops_workflows.definitions import defs
from ops_workflows.postgres.connection import connect
from ops_workflows.schema.apply import migrate_up
from ops_workflows.settings import Settings
from tests.support.cache import expired, fill, left, unhindered
from tests.support.command import as_environment
from tests.support.schema import MIGRATIONS, Database, own_database
from tests.support.servers import HOST, free_port
from tests.support.valkeys import own_valkey

CHECKS_ALONE = dg.Definitions(
    assets=[calculation_cache],
    jobs=[dg.define_asset_job("look", dg.AssetSelection.checks_for_assets(calculation_cache))],
).resolve_job_def("look")
TABLE = {"nothing_long_expired", "nothing_expires_too_late"}
DONE = TABLE | {"pruning_came_through"}
KEYS = {"keys_expire", "memory_is_left"}


class Ended:
    """What a run has left in Dagster's memory."""

    def __init__(self, result: dg.ExecuteInProcessResult) -> None:
        self.success = result.success
        events = result.get_asset_materialization_events()
        self.figures = {name: value.value for event in events for name, value in event.materialization.metadata.items()}
        evaluations = result.get_asset_check_evaluations()
        self.passed = {each.check_name: each.passed for each in evaluations}
        self.said = {each.check_name: each.description or "" for each in evaluations}


type Run = Callable[..., Ended]


@pytest.fixture(scope="module")
def database(settings: Settings) -> Iterator[Database]:
    with own_database(settings) as made:
        migrate_up(made.owner, MIGRATIONS)
        yield made


@pytest.fixture
def run(settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    for name, value in as_environment(unhindered(settings, database)).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("OPS_REDIS_PASSWORD")
    monkeypatch.chdir(tmp_path)

    def ended(job: dg.JobDefinition | None = None, redis: str | None = None, **config: Any) -> Ended:
        if redis is None:
            monkeypatch.delenv("OPS_REDIS_URL", raising=False)
        else:
            monkeypatch.setenv("OPS_REDIS_URL", redis)
        with dg.DagsterInstance.ephemeral() as instance:
            result = (job or defs.resolve_job_def("prune_cache")).execute_in_process(
                instance=instance,
                run_config={"ops": {"calculation_cache": {"config": config}}},
                raise_on_error=False,
            )
            return Ended(result)

    return ended


def test_a_run_keeps_its_bounds_and_a_dry_run_deletes_nothing(run: Run, database: Database) -> None:
    expired(database, 40)
    dry = run(dry_run=True)
    assert (dry.success, dry.figures, dry.passed) == (True, {}, {})
    assert left(database) == {"expired": 40}
    assert run(most_rows=25).figures["expired_rows"] == 25
    done = run()
    assert (done.success, done.figures["expired_rows"]) == (True, 15)
    assert done.passed == dict.fromkeys(DONE, True), "of a server that there is not, nothing is said"


def test_where_the_keys_cannot_be_swept_the_tables_figures_stay_and_the_run_fails(run: Run, database: Database) -> None:
    expired(database, 30)
    away = f"redis://{HOST}:{free_port()}/0"
    done = run(redis=away)
    assert left(database) == {}
    assert not done.success
    assert (done.figures["expired_rows"], done.figures["keys_complete"]) == (30, False)
    assert done.passed == dict.fromkeys(DONE, True) | dict.fromkeys(KEYS, False)
    assert "start it, or correct host and port in OPS_REDIS_URL" in done.said["keys_expire"]
    assert str(done.figures["keys_notes"]) == done.said["keys_expire"]
    assert not run(redis=away, dry_run=True).success


def test_rows_that_should_not_be_there_turn_their_checks_red_and_the_run_goes_on(run: Run, database: Database) -> None:
    fill(database, "expired:", 30, "now() - interval '25 hours'")
    fill(database, "far:", 7, "'9999-12-31'", latitude=2)
    done = run(most_rows=20)
    assert done.success
    assert done.passed == dict.fromkeys(TABLE, False) | {"pruning_came_through": True}
    assert done.said["nothing_long_expired"].startswith("10 rows expired over 1 day ago, the first at ")
    assert done.said["nothing_expires_too_late"].startswith("7 rows expire later than in 366 days (OPS_PRUNE_FAR_DAYS)")
    assert (done.figures["far_rows"], done.figures["last_expiry"]) == (7, "9999-12-31 00:00:00")
    assert run().passed == dict.fromkeys(DONE, True) | {"nothing_expires_too_late": False}
    assert left(database) == {"far": 7}


def test_held_up_until_its_time_is_over_the_run_fails_with_its_figures(run: Run, database: Database) -> None:
    expired(database, 20)
    with connect(database.owner) as other:
        other.execute("begin")
        other.execute("lock table panchangam_cache in share update exclusive mode")
        done = run(most_seconds=0.5)
        other.execute("rollback")
    assert not done.success
    assert done.passed == dict.fromkeys(TABLE, True) | {"pruning_came_through": False}
    assert done.said["pruning_came_through"].startswith("Nothing could be deleted, and 20 rows that should go stay: ")
    assert done.figures["rows_that_stay"] == 20


def test_checks_alone_look_and_touch_nothing(run: Run, database: Database) -> None:
    fill(database, "expired:", 30, "now() - interval '2 days'")
    with own_valkey() as port, Valkey(host=HOST, port=port) as client:
        client.set("panchangam:1", "x")
        url = f"redis://{HOST}:{port}/0"
        looked = run(CHECKS_ALONE, redis=url)
        assert looked.figures == {}
        assert looked.passed == {
            "nothing_long_expired": False,
            "nothing_expires_too_late": True,
            "keys_expire": False,
            "memory_is_left": True,
        }
        assert (left(database), client.ttl("panchangam:1")) == ({"expired": 30}, -1)
        done = run(redis=url)
        assert (done.success, done.figures["keys_given_expiry"]) == (True, 1)
        assert run(CHECKS_ALONE, redis=url).passed == dict.fromkeys(TABLE | KEYS, True)
