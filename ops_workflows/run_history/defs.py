"""Dagster's own history as Dagster sees it: the asset, its job, the schedule; and its memory in this room's words."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import batched
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from ops_workflows.progress import Logged
from ops_workflows.settings import MOST_DAYS, Settings

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from dagster._core.event_api import EventLogRecord
    from sqlalchemy import Connection

    from ops_workflows.run_history.memory import EndedRun, Newest, OpenRun, Ticker
    from ops_workflows.run_history.plan import Named

_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_SAYING = {
    dg.DagsterEventType.ASSET_MATERIALIZATION,
    dg.DagsterEventType.ASSET_OBSERVATION,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
}
_PAGE = 1000


class InstanceMemory:
    """The memory of a Dagster instance that keeps it in SQL tables, be it in PostgreSQL or in files of SQLite."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
        from dagster._core.storage.runs.sql_run_storage import SqlRunStorage
        from dagster._core.storage.schedules.sql_schedule_storage import SqlScheduleStorage

        runs, events, ticks = instance.run_storage, instance.event_log_storage, instance.schedule_storage
        if not (isinstance(runs, SqlRunStorage) and isinstance(events, SqlEventLogStorage)):
            raise dg.Failure(f"{type(events).__name__} keeps Dagster's history in no SQL tables: it prunes it itself.")
        self._instance, self._run_storage = instance, runs
        self._events, self._ticks = events, ticks if isinstance(ticks, SqlScheduleStorage) else None

    def runs(self) -> "AbstractContextManager[Connection]":
        """A connection to the tables of runs."""
        return self._run_storage.connect()

    def events(self) -> "AbstractContextManager[Connection]":
        """A connection to the events of all runs, assets and checks."""
        return self._events.index_connection()

    def runless_events(self) -> "AbstractContextManager[Connection]":
        """A connection to the events that belong to no run."""
        return self._events.run_connection("")

    def ticks(self) -> "AbstractContextManager[Connection] | None":
        """A connection to the ticks."""
        return self._ticks.connect() if self._ticks else None

    def ended(self, before: datetime) -> "Iterator[EndedRun]":
        """Page by page."""
        from ops_workflows.run_history.memory import EndedRun

        which, cursor = dg.RunsFilter(statuses=_ENDED, updated_before=before), None
        while page := self._instance.get_run_records(which, limit=_PAGE, ascending=True, cursor=cursor):
            for each in page:
                run, end = each.dagster_run, each.end_time
                ended = datetime.fromtimestamp(end, UTC) if end else each.update_timestamp.replace(tzinfo=UTC)
                yield EndedRun(run.run_id, run.job_name, run.is_success, ended, run.tags.get("dagster/backfill"))
            cursor = page[-1].dagster_run.run_id

    def open_runs(self) -> "list[OpenRun]":
        """Those of every other status."""
        from ops_workflows.run_history.memory import OpenRun

        statuses = [each for each in dg.DagsterRunStatus if each not in _ENDED]
        return [
            OpenRun(
                each.dagster_run.run_id,
                each.create_timestamp.replace(tzinfo=UTC),
                frozenset(filter(None, (each.dagster_run.root_run_id, each.dagster_run.parent_run_id))),
            )
            for each in self._instance.get_run_records(dg.RunsFilter(statuses=statuses))
        ]

    def open_backfills(self) -> frozenset[str]:
        """Those that are requested or being ended."""
        from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES, BulkActionsFilter, BulkActionStatus

        statuses = [each for each in BulkActionStatus if each not in BULK_ACTION_TERMINAL_STATUSES]
        found = self._instance.get_backfills(filters=BulkActionsFilter(statuses=statuses))
        return frozenset(each.backfill_id for each in found)

    def newest(self) -> "Newest":
        """Of each asset the newest materialization, observation and attempt, and the newest of each partition."""
        from ops_workflows.run_history.memory import Newest

        newest, partition = dict[str, set[str]](), dict[str, set[str]]()
        for entry in (each.asset_entry for each in self._instance.get_asset_records()):
            key, name = entry.asset_key, entry.asset_key.to_user_string()
            events = [entry.last_materialization, *self._instance.fetch_observations(key, limit=1).records]
            for run_id in {entry.last_run_id, *(each.run_id for each in events if each)} - {None, ""}:
                newest.setdefault(str(run_id), set()).add(name)
            latest = self._events.get_latest_storage_id_by_partition(key, dg.DagsterEventType.ASSET_MATERIALIZATION)
            for ids in batched(latest.values(), _PAGE):
                for found in self._events.get_asset_event_summary_records(
                    dg.DagsterEventType.ASSET_MATERIALIZATION, key, storage_ids=ids
                ):
                    partition.setdefault(found.run_id or "", set()).add(name)
        return Newest(*({run: frozenset(names) for run, names in each.items()} for each in (newest, partition)))

    def named(self, run_id: str) -> "frozenset[Named]":
        """From the metadata of what it has said of assets and checks."""
        found = self._instance.get_records_for_run(run_id, of_type=_SAYING).records
        return frozenset(named for record in found for named in _named(record))

    def remove(self, run_ids: Sequence[str]) -> None:
        """Output and events before the runs themselves; Dagster does it the other way round, and must not be killed."""
        for run_id in run_ids:
            self._instance.compute_log_manager.delete_logs(prefix=[run_id])
        with self._events.index_connection() as connection:
            for run_id in run_ids:
                self._events.delete_events_for_run(connection, run_id)
        slots = self._events.get_concurrency_run_ids() if self._events.supports_global_concurrency_limits else set()
        for run_id in run_ids:
            if run_id in slots:
                self._events.free_concurrency_slots_for_run(run_id)
            self._run_storage.delete_run(run_id)
            self._remove_file(run_id)

    def remove_empty_files(self) -> int:
        """Of runs that were removed when whoever did it was killed."""
        from dagster._core.storage.event_log import SqliteEventLogStorage

        ids = self._events.get_all_run_ids() if isinstance(self._events, SqliteEventLogStorage) else []
        return sum(self._remove_file(run_id) for run_id in ids if not self._instance.has_run(run_id))

    def _remove_file(self, run_id: str) -> bool:
        from dagster._core.storage.event_log import SqliteEventLogStorage

        if not isinstance(self._events, SqliteEventLogStorage):
            return False
        for each in ("", "-wal", "-shm"):
            Path(f"{self._events.path_for_shard(run_id)}{each}").unlink(missing_ok=True)
        return True

    def tickers(self) -> "Iterator[Ticker]":
        """With the retention of ticks that `dagster.yaml` sets."""
        from ops_workflows.run_history.memory import Ticker

        for each in self._instance.all_instigator_state() if self._ticks else ():
            last = self._instance.get_ticks(each.instigator_origin_id, each.selector_id, limit=1)
            days = self._instance.get_tick_retention_settings(each.instigator_type)
            yield Ticker(
                each.instigator_name,
                each.instigator_origin_id,
                each.selector_id,
                {status.value: kept for status, kept in days.items()},
                datetime.fromtimestamp(last[0].timestamp, UTC) if last else None,
            )

    def purge_ticks(self, ticker: "Ticker", status: str, before: datetime) -> None:
        """As the daemon does for those that still tick."""
        from dagster._core.scheduler.instigation import TickStatus

        self._instance.purge_ticks(
            ticker.origin_id, ticker.selector_id, before.timestamp(), tick_statuses=[TickStatus(status)]
        )


def _named(record: "EventLogRecord") -> "Iterator[Named]":
    from ops_workflows.run_history.plan import Named

    entry = record.event_log_entry
    said = entry.asset_materialization or entry.asset_observation or entry.asset_check_evaluation
    figures = said.metadata if said else {}
    system = str(figures["system"].value) if "system" in figures else None
    return (Named(str(figures[name].value), system) for name in ("backup_id", "dump_id") if name in figures)


class HistoryConfig(dg.Config):
    """Whether to remove, and how old what goes has to be."""

    dry_run: bool = Field(default=False, description="true: log what would go, and remove nothing.")
    success_days: int | None = Field(
        default=None,
        ge=1,
        le=MOST_DAYS,
        description="Days that a run which succeeded is kept. Default: OPS_HISTORY_SUCCESS_DAYS.",
    )
    failure_days: int | None = Field(
        default=None,
        ge=1,
        le=MOST_DAYS,
        description="Likewise one that failed or was cancelled. Default: OPS_HISTORY_FAILURE_DAYS.",
    )
    event_days: int | None = Field(
        default=None,
        ge=1,
        le=MOST_DAYS,
        description="Likewise events that belong to no run. Default: OPS_HISTORY_EVENT_DAYS.",
    )
    tick_days: int | None = Field(
        default=None,
        ge=1,
        le=MOST_DAYS,
        description="Likewise ticks. Default: by their status, as `retention` in dagster.yaml says.",
    )
    most_runs: int | None = Field(
        default=None, ge=1, description="Most runs to remove at once, oldest first. Default: OPS_HISTORY_MOST_RUNS."
    )


@dg.asset(
    group_name="run_history",
    kinds={"dagster"},
    owners=["team:database"],
    pool="prune_run_history",
    output_required=False,
    freshness_policy=dg.FreshnessPolicy.cron(
        deadline_cron="50 6 * * *", lower_bound_delta=timedelta(hours=1), timezone="UTC"
    ),
    description="What Dagster remembers: runs, events and ticks. The newest of everything is there, and the evidence "
    "of backups that are kept.",
)
def run_history(context: dg.AssetExecutionContext, config: HistoryConfig) -> Iterator[dg.MaterializeResult[None]]:
    """Remove what is old; in a dry run nothing, and nothing is materialized."""
    from ops_workflows.run_history.prune import prune_history
    from ops_workflows.run_history.report import figures, removed

    bounds = {
        f"history_{name}": getattr(config, name) for name in ("success_days", "failure_days", "event_days", "most_runs")
    }
    settings = Settings.read().model_copy(update={name: value for name, value in bounds.items() if value is not None})
    done = prune_history(
        settings,
        InstanceMemory(context.instance),
        Logged(context.log),
        tick_days=config.tick_days,
        dry_run=config.dry_run,
    )
    for note in done.plan.notes:
        context.log.warning(note)
    if config.dry_run:
        context.log.info(f"A dry run; nothing was removed: {figures(done)}\n{removed(done)}")
        return
    yield dg.MaterializeResult(metadata={**figures(done), "removed": dg.MetadataValue.md(removed(done))})


prune_run_history = dg.define_asset_job(
    "prune_run_history",
    selection=dg.AssetSelection.assets(run_history),
    description="Remove old runs with their event logs, and old events and ticks, by status and age; never the newest "
    "of an asset or check, nor the evidence of a backup that is kept.",
    executor_def=dg.in_process_executor,
    tags={"dagster/max_runtime": 3600},
)

pruning = dg.ScheduleDefinition(
    name="prune_run_history_at_05_50",
    job=prune_run_history,
    cron_schedule="50 5 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every day at 05:50 UTC, when the night's other jobs have done.",
)

defs = dg.Definitions(assets=[run_history], jobs=[prune_run_history], schedules=[pruning])
