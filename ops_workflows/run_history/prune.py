"""Dagster's history, kept short: plan from what it remembers, and remove what the plan lets go.

Killed at any moment, it leaves nothing but less to do: of a run, the row goes last, so that what is not finished is
found again. Of two at once, the second is refused.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import batched
from pathlib import Path

from sqlalchemy import text

from ops_workflows.errors import RefusedError
from ops_workflows.postgres.file_lock import HeldError, file_lock
from ops_workflows.progress import SILENT, Progress
from ops_workflows.run_history.held import held_backups
from ops_workflows.run_history.memory import Memory
from ops_workflows.run_history.plan import HistoryPlan, Policy, RunFacts, plan, stays
from ops_workflows.run_history.rows import (
    newest_of_checks,
    old_ticks,
    remove_evaluations,
    remove_runless,
    retried_runs,
)
from ops_workflows.run_history.size import Size, measure
from ops_workflows.settings import MOST_DAYS, Settings
from ops_workflows.wording import counted

_BATCH = 100
_KEY = 0x6F70735F68697374  # “ops_hist”


@dataclass(frozen=True, slots=True)
class PrunedHistory:
    """What a run of pruning came to.

    Attributes:
        plan: What becomes of the runs.
        before: Dagster's memory at its begin.
        after: At its end; as before in a dry run.
        runless_events: Events that went, or would go, of those that belong to no run.
        check_evaluations: Likewise, of assets' checks.
        ticks: Likewise, by the name of their schedule or sensor.
        seconds: How long all took.
    """

    plan: HistoryPlan
    before: Size
    after: Size
    runless_events: int
    check_evaluations: int
    ticks: dict[str, int]
    seconds: float


def prune_history(
    settings: Settings,
    memory: Memory,
    progress: Progress = SILENT,
    *,
    tick_days: int | None = None,
    dry_run: bool = False,
) -> PrunedHistory:
    """Remove old runs, events and ticks, within OPS_HISTORY_MOST_RUNS; the rest is left to the next time.

    Args:
        settings: How old they have to be, and the repositories whose backups they are the evidence of.
        memory: Dagster's.
        progress: Hears how far it is.
        tick_days: How long ticks are kept. Default: by their status, as Dagster's own settings have it.
        dry_run: Remove nothing; say what would go.

    Raises:
        RefusedError: Another is at it: nothing was removed.
    """
    began, now = time.monotonic(), datetime.now(UTC)
    with alone(memory):
        before = measure(memory)
        todo = plan_history(settings, memory, now)
        evaluations = 0 if dry_run else _remove(memory, todo, progress)
        old = now - timedelta(days=settings.history_event_days)
        events, runless_evaluations = remove_runless(memory, old, dry_run=dry_run)
        ticks = _purge(memory, now, tick_days, dry_run=dry_run)
        if not dry_run:
            memory.remove_empty_files()
        after = before if dry_run else measure(memory)
    took = time.monotonic() - began
    return PrunedHistory(todo, before, after, events, evaluations + runless_evaluations, ticks, took)


def plan_history(settings: Settings, memory: Memory, now: datetime) -> HistoryPlan:
    """Decide what becomes of the runs; nothing is removed. A bucket that does not answer is a note, and keeps runs."""
    succeeded, failed, partition = (
        timedelta(days=days)
        for days in (settings.history_success_days, settings.history_failure_days, settings.history_partition_days)
    )
    policy = Policy(succeeded, failed, partition)
    still_open = list(memory.open_runs())
    facts = _facts(memory, policy, now, {run_id: each.run_id for each in still_open for run_id in each.again})
    made = plan(facts, policy, held_backups(settings), now, most=settings.history_most_runs)
    stuck = [each for each in still_open if now - each.made > failed]
    if not stuck:
        return made
    said = (
        f"{counted(len(stuck), 'run')} began over {failed.days} days ago and never ended, such as {stuck[0].run_id}; "
        "they stay. If nothing works on them any more, terminate them in the UI, and they go in time."
    )
    return HistoryPlan(made.gone, made.kept, made.more, (*made.notes, said))


def _facts(memory: Memory, policy: Policy, now: datetime, tried_again: dict[str, str]) -> Iterator[RunFacts]:
    newest, checks, backfills = memory.newest(), newest_of_checks(memory), memory.open_backfills()
    retried, none = retried_runs(memory), frozenset[str]()
    for run in memory.ended(now - policy.shortest):
        opened_by = f"run {tried_again[run.run_id]}" if run.run_id in tried_again else ""
        if run.backfill in backfills:
            opened_by = f"backfill {run.backfill}"
        facts = RunFacts(
            run.run_id,
            run.job,
            run.succeeded,
            run.ended,
            newest_of=newest.of.get(run.run_id, none) | checks.of.get(run.run_id, none),
            newest_partition_of=newest.partition_of.get(run.run_id, none) | checks.partition_of.get(run.run_id, none),
            opened_by=opened_by,
            is_retried=run.run_id in retried,
        )
        if stays(facts, policy, now) is None:  # only then it is worth to read what it has said
            names = memory.named(run.run_id)
            yield RunFacts(run.run_id, run.job, run.succeeded, run.ended, names=names)
        else:
            yield facts


def _remove(memory: Memory, todo: HistoryPlan, progress: Progress) -> int:
    progress.begin("Removing runs", len(todo.gone), "runs")
    done, evaluations = 0, 0
    for batch in batched(todo.gone, _BATCH):
        run_ids = [run.run_id for run in batch]
        evaluations += remove_evaluations(memory, run_ids)
        memory.remove(run_ids)
        done += len(batch)
        progress.advance(done)
    return evaluations


def _purge(memory: Memory, now: datetime, tick_days: int | None, *, dry_run: bool) -> dict[str, int]:
    """But never the newest of a schedule or sensor: without it, Dagster would make up for what it has long done."""
    gone = dict[str, int]()
    for ticker in memory.tickers():
        for status, days in ticker.days.items():
            keep = days if tick_days is None else tick_days
            connected = memory.ticks()
            if keep <= 0 or ticker.newest is None or connected is None:
                continue
            before = min(now - timedelta(days=min(keep, MOST_DAYS)), ticker.newest)
            with connected as connection:
                found = old_ticks(connection, ticker, status, before)
            if found:
                gone[ticker.name] = gone.get(ticker.name, 0) + found
                if not dry_run:
                    memory.purge_ticks(ticker, status, before)
    return gone


@contextmanager
def alone(memory: Memory) -> Iterator[None]:
    """Hold the lock of a memory: in its database, or beside its files; it ends with whoever holds it.

    Raises:
        RefusedError: Another holds it.
    """
    refused = RefusedError("Dagster's history is being pruned already: nothing was done. Let that end.")
    with memory.runs() as connection:
        where = Path(connection.engine.url.database or "")
        if connection.dialect.name == "postgresql":
            if not connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": _KEY}).scalar_one():
                raise refused
            yield
            return
    if not where.is_file():  # in the memory of this process
        yield
        return
    try:
        with file_lock(where.with_name("run_history.lock")):
            yield
    except HeldError:
        raise refused from None
