"""A memory of Dagster with real runs in it, in files of SQLite or in PostgreSQL, and a way to make it older."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.events import DagsterEvent, StepMaterializationData
from dagster._core.remote_origin import (
    InProcessCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, TickData, TickStatus
from dagster._core.storage.dagster_run import DagsterRun
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.utils import make_new_run_id
from sqlalchemy import text

from ops_workflows.run_history.defs import InstanceMemory

CLUSTER = "7301234567890123456"
DAYS = dg.DailyPartitionsDefinition(start_date="2026-01-01", end_date="2026-01-11")
RETENTION = {"sensor": {"purge_after_days": {"skipped": 7, "failure": 30, "success": 30, "started": 30}}}


class Made(dg.Config):
    """What it is said to have made."""

    backup_id: str = ""
    passes: bool = True
    fails: bool = False


@dg.asset(check_specs=[dg.AssetCheckSpec("sound", asset="made")])
def made(config: Made) -> Iterator[dg.MaterializeResult[None]]:
    """Such as a base backup, with a check."""
    if config.fails:
        raise dg.Failure("As it was told to.")
    said = {"backup_id": config.backup_id, "system": CLUSTER} if config.backup_id else {}
    yield dg.MaterializeResult(metadata=said, check_results=[dg.AssetCheckResult(passed=config.passes)])


@dg.asset(partitions_def=DAYS)
def daily() -> None:
    """Such as statistics by day."""


@dg.asset(partitions_def=DAYS, check_specs=[dg.AssetCheckSpec("counted", asset="tallied")])
def tallied() -> Iterator[dg.MaterializeResult[None]]:
    """Such as statistics by day, with a check of its own, and with one apart from it, which knows of no partition."""
    yield dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=True)])


@dg.asset_check(asset=tallied)
def plausible() -> dg.AssetCheckResult:
    """Passes."""
    return dg.AssetCheckResult(passed=True)


CHECK = dg.AssetCheckKey(made.key, "sound")


@contextmanager
def remembering(url: str | None) -> Iterator[dg.DagsterInstance]:
    """An instance that keeps its memory in a PostgreSQL database, or in files."""
    storage = {"storage": {"postgres": {"postgres_url": url}}} if url else {}
    with dg.instance_for_test(overrides={"retention": RETENTION, **storage}) as instance:
        yield instance


def ran(instance: dg.DagsterInstance, days: float, *, partition: str | None = None, **config: object) -> str:
    """A run that ended so many days ago."""
    if partition:
        done = dg.materialize([daily], instance=instance, partition_key=partition)
    else:
        done = dg.materialize(
            [made], instance=instance, run_config={"ops": {"made": {"config": config}}}, raise_on_error=False
        )
    age(instance, done.run_id, days)
    return done.run_id


def tallied_on(instance: dg.DagsterInstance, days: float, partition: str) -> str:
    """A run that ended so many days ago, of the asset of which each partition is checked."""
    job = dg.Definitions(
        assets=[tallied], asset_checks=[plausible], jobs=[dg.define_asset_job("tally", selection="*")]
    ).resolve_job_def("tally")
    done = job.execute_in_process(instance=instance, partition_key=partition)
    age(instance, done.run_id, days)
    return done.run_id


def told(
    instance: dg.DagsterInstance,
    days: float,
    *,
    backup_id: str = "",
    checked: bool = False,
    status: dg.DagsterRunStatus = dg.DagsterRunStatus.SUCCESS,
    **about: str | dict[str, str],
) -> str:
    """A run without the work: a row, and what such a run says of an asset and, if wanted, of its check."""
    run = DagsterRun("nightly_backup", run_id=make_new_run_id(), status=status, **about)  # type: ignore[arg-type]
    instance.add_run(run)
    if status is dg.DagsterRunStatus.SUCCESS:
        said = {"backup_id": backup_id, "system": CLUSTER} if backup_id else {}
        materialization = StepMaterializationData(dg.AssetMaterialization(made.key, metadata=said), [])
        planned = AssetCheckEvaluationPlanned(asset_key=made.key, check_name="sound")
        evaluation = dg.AssetCheckEvaluation(asset_key=made.key, check_name="sound", passed=True, metadata={})
        checks = (
            [("ASSET_CHECK_EVALUATION_PLANNED", planned), ("ASSET_CHECK_EVALUATION", evaluation)] if checked else []
        )
        for kind, data in (("ASSET_MATERIALIZATION", materialization), *checks):
            event = DagsterEvent(kind, run.job_name, step_key="made", event_specific_data=data)
            instance.report_dagster_event(event, run.run_id)
    age(instance, run.run_id, days)
    return run.run_id


def age(instance: dg.DagsterInstance, run_id: str, days: float) -> None:
    """Let what a run has left, or what belongs to no run, be older."""
    memory, then = InstanceMemory(instance), datetime.now(UTC) - timedelta(days=days)
    about = {"run": run_id, "end": then.timestamp(), "then": f"{then:%F %T.%f}"}
    moments = "create_timestamp = :then, update_timestamp = :then"
    with memory.runs() as connection:
        connection.execute(text(f"UPDATE runs SET end_time = :end, {moments} WHERE run_id = :run"), about)
    for connected in (memory.events(), memory.runless_events()):
        with connected as connection:
            connection.execute(text("UPDATE event_logs SET timestamp = :then WHERE run_id = :run"), about)
            connection.execute(
                text("UPDATE asset_check_executions SET create_timestamp = :then WHERE run_id = :run"), about
            )


def ticked(instance: dg.DagsterInstance, name: str, *ticks: tuple[float, TickStatus]) -> InstigatorState:
    """A sensor that ticked so many days ago, with what came of it."""
    place = InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="ops_workflows.definitions"))
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(place, "__repository__"), name)
    state = instance.add_instigator_state(InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.RUNNING))
    for days, status in ticks:
        then = (datetime.now(UTC) - timedelta(days=days)).timestamp()
        instance.create_tick(
            TickData(
                state.instigator_origin_id, name, InstigatorType.SENSOR, status, then, [], selector_id=state.selector_id
            )
        )
    return state


def forget(instance: dg.DagsterInstance) -> None:
    """All of it."""
    instance.wipe()
    instance.schedule_storage.wipe()  # type: ignore[union-attr]  # each of these instances has one
    with InstanceMemory(instance).runless_events() as connection:  # which Dagster overlooks where it is a file
        connection.execute(text("DELETE FROM event_logs"))


def all_there_is(instance: dg.DagsterInstance) -> dict[str, list[tuple[object, ...]]]:
    """Every row of it that matters."""
    memory = InstanceMemory(instance)
    ticks = memory.ticks()
    assert ticks is not None
    found = {}
    for name, connected, query in (
        ("runs", memory.runs(), "SELECT run_id, status FROM runs ORDER BY id"),
        ("events", memory.events(), "SELECT id, run_id, dagster_event_type FROM event_logs ORDER BY id"),
        ("runless", memory.runless_events(), "SELECT id FROM event_logs WHERE run_id = '' ORDER BY id"),
        ("checks", memory.events(), "SELECT id, run_id, execution_status FROM asset_check_executions ORDER BY id"),
        ("ticks", ticks, "SELECT id, status FROM job_ticks ORDER BY id"),
    ):
        with connected as connection:
            found[name] = [tuple(row) for row in connection.execute(text(query))]
    return found
