"""Dagster's history is pruned in real memories, files and PostgreSQL: what is newest and what is evidence stays."""

import json
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.scheduler.instigation import TickStatus
from dagster._core.storage.dagster_run import DagsterRunStatus
from psycopg import sql

from ops_workflows.definitions import defs
from ops_workflows.errors import RefusedError
from ops_workflows.local.stack import Stack
from ops_workflows.run_history.defs import InstanceMemory
from ops_workflows.run_history.plan import Reason
from ops_workflows.run_history.prune import PrunedHistory, alone, prune_history
from ops_workflows.run_history.rows import remove_evaluations
from ops_workflows.settings import Settings
from tests.support.command import as_environment
from tests.support.remembered import (
    CHECK,
    CLUSTER,
    age,
    all_there_is,
    daily,
    forget,
    made,
    ran,
    remembering,
    tallied,
    tallied_on,
    ticked,
    told,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", params=["files", "server"])
def lasting(
    request: pytest.FixtureRequest, stack: Stack, settings: Settings, superuser: Callable[..., psycopg.Connection[Any]]
) -> Iterator[dg.DagsterInstance]:
    """A memory."""
    if request.param == "files":
        with remembering(None) as instance:
            yield instance
        return
    name = f"t_{secrets.token_hex(4)}"
    url = settings.require("dagster_database_url")
    with superuser(stack.folder, "dagster") as connection:
        connection.execute(sql.SQL("create database {} owner dagster").format(sql.Identifier(name)))
        try:
            with remembering(url.replace("/dagster?", f"/{name}?")) as instance:
                yield instance
        finally:
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture
def instance(lasting: dg.DagsterInstance) -> dg.DagsterInstance:
    """The same, empty."""
    forget(lasting)
    return lasting


@pytest.fixture
def brief() -> Iterator[dg.DagsterInstance]:
    """For what does not depend on where it is kept: one that is gone with its process."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def own(tmp_path: Path) -> Settings:
    """A repository in a folder, which knows a cluster and one of its backups."""
    (tmp_path / "repository" / CLUSTER / "backups" / "kept").mkdir(parents=True)
    (tmp_path / "repository" / CLUSTER / "backups" / "kept" / "base.tar.zst").touch()
    return Settings(home=tmp_path / "home", repository_url=f"file://{tmp_path}/repository")


def prune(own: Settings, instance: dg.DagsterInstance, **how: object) -> PrunedHistory:
    options = {name: how.pop(name) for name in ("dry_run", "tick_days") if name in how}
    return prune_history(own.model_copy(update=how), InstanceMemory(instance), **options)  # type: ignore[arg-type]


def run_ids(instance: dg.DagsterInstance) -> set[str]:
    return {run.run_id for run in instance.get_runs()}


def newest(instance: dg.DagsterInstance) -> tuple[object, ...]:
    """What Dagster says of its assets."""
    events = instance.event_log_storage
    checks = events.get_latest_asset_check_execution_by_key([CHECK])
    return (
        {key: instance.get_latest_materialization_event(key) for key in (made.key, daily.key)},
        instance.get_materialized_partitions(daily.key),
        {record.asset_entry.asset_key: record.asset_entry.last_run_id for record in instance.get_asset_records()},
        events.get_latest_storage_id_by_partition(daily.key, dg.DagsterEventType.ASSET_MATERIALIZATION),
        {key: (each.id, each.run_id, each.status, each.evaluation) for key, each in checks.items()},
    )


def test_old_runs_are_gone_and_the_newest_of_everything_is_as_before(
    own: Settings, instance: dg.DagsterInstance
) -> None:
    old = [ran(instance, 100)]
    failed_check = ran(instance, 95, passes=False)
    superseded = ran(instance, 90, partition="2026-01-01")
    partitions = [ran(instance, 80, partition=f"2026-01-0{day}") for day in (1, 2)]
    failure, young_failure = ran(instance, 200, fails=True), told(instance, 90, status=DagsterRunStatus.FAILURE)
    last, young = told(instance, 70), ran(instance, 1)
    before, logs = newest(instance), Path(instance.storage_directory())
    for run_id in (*old, young):
        (logs / run_id / "compute_logs").mkdir(parents=True, exist_ok=True)
        (logs / run_id / "compute_logs" / "made.err").write_text("Said.")

    done = prune(own, instance)

    gone = {*old, superseded, failure, last}
    assert run_ids(instance) == {failed_check, *partitions, young_failure, young}
    assert newest(instance) == before
    assert {run.run_id for run in done.plan.gone} == gone
    assert done.plan.kept == {Reason.NEWEST: 2, Reason.PARTITION: 1, Reason.YOUNG: 1}
    found = all_there_is(instance)
    assert not {run_id for _, run_id, _ in found["events"]} & gone
    assert not {run_id for _, run_id, _ in found["checks"]} & gone
    assert not [path for path in logs.rglob("*") if any(run_id in path.name for run_id in gone)]
    assert (logs / young / "compute_logs" / "made.err").read_text() == "Said."
    assert (done.before.runs, done.after.runs) == (9, 5)
    assert 0 < done.after.events < done.before.events
    assert (done.before.total_bytes > 0, done.after.total_bytes > 0) == (True, True)
    assert prune(own, instance).plan.gone == ()
    again = prune(own, instance, history_partition_days=75)
    assert {run.run_id for run in again.plan.gone} == {partitions[0]}, "the last is the newest of its asset"


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcfromtimestamp:DeprecationWarning")  # Dagster's own
def test_a_checked_partition_is_kept_as_long_as_any_and_then_leaves_nothing(
    own: Settings, instance: dg.DagsterInstance
) -> None:
    old = [tallied_on(instance, 500 - day, f"2026-01-0{day}") for day in (1, 2, 3)]
    younger = [tallied_on(instance, 300 - day, f"2026-01-0{day}") for day in (4, 5)]
    planned = {row[1] for row in all_there_is(instance)["checks"] if row[2] == "PLANNED"}
    assert planned == {*old, *younger}, "of a check apart from its asset, Dagster leaves the plan of each partition"

    done = prune(own, instance)

    assert {run.run_id for run in done.plan.gone} == {*old}
    assert done.plan.kept == {Reason.PARTITION: 1, Reason.NEWEST: 1}
    assert {run_id for _, run_id, _ in all_there_is(instance)["checks"]} == {*younger}
    assert instance.get_materialized_partitions(tallied.key) == {"2026-01-04", "2026-01-05"}


def test_a_dry_run_changes_nothing_and_says_what_would_go(own: Settings, instance: dg.DagsterInstance) -> None:
    old = [told(instance, 100) for _ in range(3)]
    told(instance, 1)
    instance.report_runless_asset_event(dg.AssetObservation(made.key))
    age(instance, "", 20)
    instance.report_runless_asset_event(dg.AssetObservation(made.key))
    ticked(instance, "canaries", (20, TickStatus.SKIPPED), (1, TickStatus.SKIPPED))
    before = all_there_is(instance)
    shown = prune(own, instance, dry_run=True)
    assert all_there_is(instance) == before
    done = prune(own, instance)
    assert [run.run_id for run in shown.plan.gone] == [run.run_id for run in done.plan.gone] == old
    assert (shown.runless_events, shown.ticks) == (done.runless_events, done.ticks) == (1, {"canaries": 1})
    after = all_there_is(instance)
    assert {name: len(before[name]) - len(after[name]) for name in ("runs", "runless", "ticks")} == {
        "runs": 3, "runless": 1, "ticks": 1,
    }  # fmt: skip


def test_the_evidence_of_a_kept_backup_stays_and_what_cannot_be_verified_too(
    own: Settings, brief: dg.DagsterInstance
) -> None:
    kept, gone = told(brief, 300, backup_id="kept"), told(brief, 300, backup_id="gone")
    other, young = told(brief, 300), told(brief, 1)
    away = own.model_copy(update={"repository_url": f"file://{own.repository_folder}/nowhere"})
    unsure = prune(away, brief)
    assert run_ids(brief) == {kept, gone, young}
    assert {run.run_id for run in unsure.plan.gone} == {other}
    assert unsure.plan.kept == {Reason.UNVERIFIED: 2}
    assert "could not be verified" in unsure.plan.notes[0]
    assert {run.run_id for run in prune(own, brief).plan.gone} == {gone}
    mirror = own.model_copy(
        update={"repository_url": f"file://{own.repository_folder}-2", "mirror_url": own.repository_url}
    )
    (own.repository_folder.parent / "repository-2" / CLUSTER / "dumps" / "d").mkdir(parents=True)  # type: ignore[union-attr]
    (own.repository_folder.parent / "repository-2" / CLUSTER / "dumps" / "d" / "dump.json").touch()  # type: ignore[union-attr]
    assert prune(mirror, brief).plan.kept == {Reason.EVIDENCE: 1}


def test_what_is_open_stays_with_what_it_builds_on(own: Settings, brief: dg.DagsterInstance) -> None:
    parent, other = told(brief, 300), told(brief, 300)
    told(brief, 1)
    waiting = told(brief, 0, status=DagsterRunStatus.NOT_STARTED, parent_run_id=parent, root_run_id=parent)
    stuck = told(brief, 300, status=DagsterRunStatus.STARTED)
    done = prune(own, brief)
    assert {run.run_id for run in done.plan.gone} == {other}
    assert {parent, waiting, stuck} <= run_ids(brief)
    assert done.plan.kept == {Reason.OPEN: 1}
    (note,) = done.plan.notes
    assert stuck in note


def test_the_group_of_a_kept_retry_is_found_and_goes_once_the_retry_has_gone(
    own: Settings, instance: dg.DagsterInstance
) -> None:
    def again(root: str, parent: str, days: float, backup_id: str = "") -> str:
        tags = {"dagster/root_run_id": root, "dagster/parent_run_id": parent}
        return told(instance, days, backup_id=backup_id, root_run_id=root, parent_run_id=parent, tags=tags)

    root = told(instance, 303, status=DagsterRunStatus.FAILURE)
    parent = again(root, root, 302)
    evidence = again(root, parent, 301, "kept")
    other = told(instance, 303, status=DagsterRunStatus.FAILURE)
    retry = again(other, other, 301)
    young = told(instance, 1)

    done = prune(own, instance)

    assert {run.run_id for run in done.plan.gone} == {retry}
    assert done.plan.kept == {Reason.RETRIED: 3, Reason.EVIDENCE: 1}
    found = instance.get_run_group(evidence)
    assert found is not None
    assert (found[0], {run.run_id for run in found[1]}) == (root, {root, parent, evidence})
    assert {run.run_id for run in prune(own, instance).plan.gone} == {other}
    assert prune(own, instance).plan.gone == ()
    assert run_ids(instance) == {root, parent, evidence, young}


def test_ticks_that_are_kept_for_longer_than_calendars_reach(own: Settings) -> None:
    for_ever = {"sensor": {"purge_after_days": {"skipped": 10_000_000}}}
    with dg.instance_for_test(overrides={"retention": for_ever}) as instance:
        ticked(instance, "canaries", (900, TickStatus.SKIPPED), (1, TickStatus.SKIPPED))
        assert prune(own, instance).ticks == {}


def test_runs_of_a_backfill_stay_until_it_has_ended(own: Settings, brief: dg.DagsterInstance) -> None:
    runs = {each: told(brief, 300, tags={"dagster/backfill": each}) for each in ("going", "ended")}
    young = told(brief, 1)
    for name, status in (("going", BulkActionStatus.REQUESTED), ("ended", BulkActionStatus.COMPLETED_SUCCESS)):
        brief.add_backfill(PartitionBackfill(name, status=status, from_failure=False, tags={}, backfill_timestamp=0.0))
    assert prune(own, brief).plan.kept == {Reason.OPEN: 1}
    assert run_ids(brief) == {runs["going"], young}


def test_no_more_than_may_go_at_once_and_the_next_time_goes_on(own: Settings, brief: dg.DagsterInstance) -> None:
    old = [told(brief, 100) for _ in range(5)]
    young = told(brief, 1)
    left = []
    for _ in range(3):
        done = prune(own, brief, history_most_runs=2)
        left.append((len(done.plan.gone), done.plan.more, len(run_ids(brief))))
    assert left == [(2, True, 4), (2, True, 2), (1, False, 1)]
    assert run_ids(brief) == {young}
    assert old[0] not in run_ids(brief)


def test_events_without_a_run_go_but_for_the_newest_of_each_kind(own: Settings, instance: dg.DagsterInstance) -> None:
    for number in range(4):
        for event in (
            dg.AssetMaterialization("wal_archive", metadata={"position": str(number)}),
            dg.AssetObservation("wal_archive", metadata={"position": str(number)}),
            dg.AssetMaterialization("hourly", partition=f"2026-01-01-0{number % 2}:00"),
            dg.AssetCheckEvaluation(
                asset_key=dg.AssetKey("wal_archive"), check_name="whole", passed=number != 1, metadata={}
            ),
        ):
            instance.report_runless_asset_event(event)
    age(instance, "", 20)
    instance.report_runless_asset_event(dg.AssetObservation("other"))
    key, wal = dg.AssetCheckKey(dg.AssetKey("wal_archive"), "whole"), dg.AssetKey("wal_archive")
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key([key])
    hours = instance.get_materialized_partitions(dg.AssetKey("hourly"))

    done = prune(own, instance)

    assert (done.runless_events, done.check_evaluations) == (3 + 3 + 2 + 4, 2)
    event = instance.get_latest_materialization_event(wal)
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["position"].value == "3"
    assert len(instance.fetch_materializations(wal, limit=10).records) == 1
    assert len(instance.fetch_observations(wal, limit=10).records) == 1
    assert instance.get_materialized_partitions(dg.AssetKey("hourly")) == hours
    assert instance.event_log_storage.get_latest_asset_check_execution_by_key([key]) == latest
    history = instance.event_log_storage.get_asset_check_execution_history(key, limit=10)
    assert [each.status.value for each in history] == ["SUCCEEDED", "FAILED"]
    assert done.after.runless_events == len(all_there_is(instance)["runless"]) == 1 + 1 + 2 + 1


def test_ticks_go_by_status_and_age_but_never_the_newest(own: Settings, instance: dg.DagsterInstance) -> None:
    skipped, success = TickStatus.SKIPPED, TickStatus.SUCCESS
    busy = ticked(instance, "busy", (40, success), (20, success), (20, skipped), (8, skipped), (1, skipped))
    still = ticked(instance, "still", (90, skipped), (80, skipped))
    assert prune(own, instance).ticks == {"busy": 3, "still": 1}

    def ages(state: Any) -> list[int]:
        now = instance.get_ticks(busy.instigator_origin_id, busy.selector_id, limit=1)[0].timestamp + 86400
        ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id)
        return [round((now - tick.timestamp) / 86400) for tick in ticks]

    assert (ages(busy), ages(still)) == ([1, 20], [80])
    assert prune(own, instance, tick_days=5).ticks == {"busy": 1}
    assert (ages(busy), ages(still)) == ([1], [80])


_KILLED = """
import json, os, signal, sys
import dagster as dg
from ops_workflows.run_history.defs import InstanceMemory
from ops_workflows.run_history.prune import prune_history
from ops_workflows.settings import Settings

with dg.DagsterInstance.get() as instance:
    storage, left = instance.run_storage, [1]
    delete = type(storage).delete_run

    def deletes(self, run_id):
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)  # all events are gone, and all but one of the runs are there
        left.pop()
        delete(self, run_id)

    type(storage).delete_run = deletes
    prune_history(Settings(**json.loads(sys.argv[1])), InstanceMemory(instance))
"""


def test_killed_in_the_middle_it_goes_on_from_there(own: Settings, instance: dg.DagsterInstance) -> None:
    old = [told(instance, 100, checked=True) for _ in range(3)]
    young = told(instance, 1, checked=True)
    before, planned = newest(instance), prune(own, instance, dry_run=True).plan
    where = json.dumps({"home": str(own.home), "repository_url": own.repository_url})
    done = subprocess.run([sys.executable, "-c", _KILLED, where], cwd=ROOT, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert run_ids(instance) == {*old[1:], young}
    assert newest(instance) == before
    assert prune(own, instance).plan.gone == planned.gone[1:]
    assert run_ids(instance) == {young}
    assert newest(instance) == before
    found = all_there_is(instance)
    assert {run_id for _, run_id, _ in found["events"]} == {young}
    assert {run_id for _, run_id, _ in found["checks"]} == {young}
    assert not [path for path in Path(instance.root_directory).rglob("*") if any(each in path.name for each in old)]


def test_a_file_that_was_left_behind_is_taken_away(own: Settings) -> None:
    with remembering(None) as instance:
        left = Path(instance.event_log_storage.path_for_shard("of-a-run-that-is-gone"))  # type: ignore[attr-defined]
        left.touch()
        young = told(instance, 1)
        prune(own, instance)
        assert not left.exists()
        assert Path(instance.event_log_storage.path_for_shard(young)).exists()  # type: ignore[attr-defined]


def test_two_at_once(own: Settings, instance: dg.DagsterInstance) -> None:
    old, young, memory = told(instance, 100), told(instance, 1), InstanceMemory(instance)
    with alone(memory), pytest.raises(RefusedError, match="nothing was done"):
        prune(own, instance)
    assert run_ids(instance) == {old, young}
    for _ in range(2):  # where the lock did not hold
        memory.remove([old])
        assert remove_evaluations(memory, [old]) == 0
    assert run_ids(instance) == {young}
    assert prune(own, instance).plan.gone == ()


def test_the_job_leaves_figures(
    own: Settings, brief: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in as_environment(own).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    old = [told(brief, 20) for _ in range(3)]
    told(brief, 1)

    def run(**config: object) -> dict[str, object]:
        result = defs.resolve_job_def("prune_run_history").execute_in_process(
            instance=brief, run_config={"ops": {"run_history": {"config": config}}}
        )
        found = result.get_asset_materialization_events()
        return {name: value.value for event in found for name, value in event.materialization.metadata.items()}

    assert run(success_days=10, dry_run=True) == {}
    assert run()["runs_removed"] == 0
    assert set(old) <= run_ids(brief)
    figures = run(success_days=10, most_runs=2)
    assert (figures["runs_removed"], figures["runs_left_to_next_time"], figures["notes"]) == (2, True, "none")
    assert figures["runs_before"] == figures["runs"] + 2  # type: ignore[operator]
    assert "| runs of nightly_backup | 2 |" in str(figures["removed"])
    assert not set(old[:2]) & run_ids(brief)
