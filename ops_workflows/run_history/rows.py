"""What Dagster's own way to remove a run leaves behind: events that belong to no run, and evaluations of checks.

Rows are deleted as Dagster would; its tables are Dagster's, and nothing of how they are made is changed.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from importlib.resources import files

from sqlalchemy import Connection, DateTime, bindparam, column, func, select, text

from ops_workflows.run_history.memory import Memory, Newest, Ticker

_BATCH = 5000
_ALL = 2**31 - 1
_HERE = files(__package__)
_RUNLESS_EVENTS, _RUNLESS_EVALUATIONS, _RUN_EVALUATIONS, _NEWEST, _RETRIED, _OLD_TICKS = (
    _HERE.joinpath(f"{name}.sql").read_text()
    for name in (
        "runless_events",
        "runless_evaluations",
        "run_evaluations",
        "newest_evaluations",
        "retried",
        "old_ticks",
    )
)
_DELETIONS = {
    table: text(statement).bindparams(bindparam("ids", expanding=True))
    for table, statement in (
        ("asset_event_tags", "DELETE FROM asset_event_tags WHERE event_id IN :ids"),
        ("event_logs", "DELETE FROM event_logs WHERE id IN :ids"),
        ("asset_check_executions", "DELETE FROM asset_check_executions WHERE id IN :ids"),
    )
}


def newest_of_checks(memory: Memory) -> Newest:
    """Which runs say the newest of checks."""
    newest, partition = dict[str, frozenset[str]](), dict[str, frozenset[str]]()
    with memory.events() as connection:
        for run_id, asset, name, is_partition in connection.execute(text(_NEWEST)):
            found, check = partition if is_partition else newest, f"{'/'.join(json.loads(asset))}: {name}"
            found[run_id] = found.get(run_id, frozenset()) | {check}
    return Newest(newest, partition)


def retried_runs(memory: Memory) -> frozenset[str]:
    """Ids of the runs that another one, ended or not, tries again."""
    with memory.runs() as connection:
        return frozenset(connection.execute(text(_RETRIED)).scalars())


def remove_runless(memory: Memory, before: datetime, *, dry_run: bool = False) -> tuple[int, int]:
    """Remove old events and evaluations of checks that belong to no run, but the newest; or only count them.

    Returns:
        How many events, and how many evaluations.
    """
    evaluations = _sweep(memory.events, _RUNLESS_EVALUATIONS, "asset_check_executions", before, dry_run=dry_run)
    where = (memory.runless_events, memory.events)  # twice the same tables, unless these are files
    return max(_sweep(each, _RUNLESS_EVENTS, "event_logs", before, dry_run=dry_run) for each in where), evaluations


def _sweep(
    connected: Callable[[], AbstractContextManager[Connection]],
    which: str,
    table: str,
    before: datetime,
    *,
    dry_run: bool = False,
) -> int:
    old = text(which).bindparams(bindparam("before", before.replace(tzinfo=None), DateTime()))
    if dry_run:
        counted = select(func.count()).select_from(old.columns(column("id")).subquery())
        with connected() as connection:
            return connection.execute(counted, {"most": _ALL}).scalar_one()
    done = 0
    while True:
        with connected() as connection:  # each batch is a transaction of its own
            ids = connection.execute(old, {"most": _BATCH}).scalars().all()
            done += _delete(connection, table, ids)
        if len(ids) < _BATCH:
            return done


def remove_evaluations(memory: Memory, run_ids: Sequence[str]) -> int:
    """Remove the evaluations of checks that runs made, but the newest; how many those were."""
    which = text(_RUN_EVALUATIONS).bindparams(bindparam("runs", expanding=True))
    with memory.events() as connection:
        ids = connection.execute(which, {"runs": list(run_ids), "most": _ALL}).scalars().all()
        for start in range(0, len(ids), _BATCH):
            _delete(connection, "asset_check_executions", ids[start : start + _BATCH])
    return len(ids)


def _delete(connection: Connection, table: str, ids: Sequence[int]) -> int:
    if not ids:
        return 0
    if table == "event_logs":
        connection.execute(_DELETIONS["asset_event_tags"], {"ids": ids})
    return connection.execute(_DELETIONS[table], {"ids": ids}).rowcount


def old_ticks(connection: Connection, ticker: Ticker, status: str, before: datetime) -> int:
    """How many ticks of a status it has from before a moment."""
    # With its time zone, as Dagster itself says it: how the server reads that is then the same.
    which = text(_OLD_TICKS).bindparams(bindparam("before", before, DateTime()))
    about = {"selector_id": ticker.selector_id, "origin_id": ticker.origin_id, "status": status}
    return int(connection.execute(which, about).scalar_one())
