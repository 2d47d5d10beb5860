"""What the hourly rollup of the query log costs beside one bare GROUP BY, and what making one hour again touches."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path

from psycopg import sql

from benchmarks.claims import LEAST_ROLLED_UP
from benchmarks.data import Cluster
from benchmarks.machine import wait_for_quiet
from benchmarks.measure import BenchmarkError
from benchmarks.table import Row, judge
from ops_workflows.analytics.period import Grain, Period
from ops_workflows.analytics.rollup import RolledUp, roll_up, roll_up_due
from ops_workflows.postgres.connection import Connection, connect
from ops_workflows.postgres.programs import Programs
from ops_workflows.schema.apply import migrate_up

_ROWS, _HOURS = 5_000_000, 48
_DATABASE = "rolled_up"
_LONGEST_SECONDS = 1800
_MIGRATIONS = Path(__file__).parents[1] / "migrations"
_LOG, _GROUPED, _GROUPED_EXACTLY = (
    files(__package__).joinpath(f"{name}.sql").read_text().encode() for name in ("log", "grouped", "grouped_exactly")
)
_ONE_PROCESS = "SET max_parallel_workers_per_gather = 0"
_STATISTICS = "SELECT period, xmin::text, ctid::text FROM ops.query_stats_hourly"


def rollups(cluster: Cluster, programs: Programs, runs: int, say: Callable[[str], None]) -> list[Row]:
    """By turns on one log: hour by hour, and one GROUP BY over all of it.

    Raises:
        BenchmarkError: The statistics are not those of all rows, or another hour was touched.
    """
    say(f"make {_ROWS:,} queries")
    until = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    hours = [Period(Grain.HOUR, until - timedelta(hours=number)) for number in range(_HOURS, 0, -1)]
    dsn = _fill(cluster, until)
    ours: list[float] = []
    alone: list[float] = []
    planned: list[float] = []
    exactly: list[float] = []
    for number in range(1, runs + 1):
        ours.append(_quietly(cluster, lambda: _expect_all(roll_up(dsn, *hours))))
        alone.append(_quietly(cluster, lambda: _group(dsn, _GROUPED, _ONE_PROCESS)))
        planned.append(_quietly(cluster, lambda: _group(dsn, _GROUPED)))
        exactly.append(_quietly(cluster, lambda: _group(dsn, _GROUPED_EXACTLY)))
        say(f"round {number}: {ours[-1]:.1f} s, GROUP BY {alone[-1]:.1f} s, as planned {planned[-1]:.1f} s")
    due = _quietly(cluster, lambda: roll_up_due(dsn))
    again, touched = _again(dsn, hours[_HOURS // 2])
    section = f"rollup of {_ROWS:,} queries in {_HOURS} hours, PostgreSQL {programs.major}"
    mine = Row(section, "hour by hour", tuple(ours))
    redone = Row("one hour made again", "rows of other hours that were written", (float(touched),), "rows", bound=0)
    return [
        mine,
        judge(Row(section, "one bare GROUP BY, one process", tuple(alone)), mine, 1 / LEAST_ROLLED_UP),
        judge(Row(section, "the same, in as many processes as planned", tuple(planned)), mine, 1 / LEAST_ROLLED_UP),
        Row(section, "the same answers exactly, for these hours only", tuple(exactly)),
        Row(section, "looking what is due, and two days or three", (due,)),
        Row(redone.section, "time", (again,)),
        redone.judged(touched == 0),
    ]


def _fill(cluster: Cluster, until: datetime) -> str:
    with connect(cluster.server.dsn()) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(_DATABASE)))
    dsn = f"postgresql:///{_DATABASE}?host={cluster.server.host}&user=postgres"
    migrate_up(dsn, _MIGRATIONS)
    with connect(dsn, statement_seconds=_LONGEST_SECONDS) as connection:
        # A foreign key that is looked up for each row would take longer than the rows.
        connection.execute("SET session_replication_role = replica")
        connection.execute("SET synchronous_commit = off")
        for statement in _LOG.split(b";"):
            connection.execute(statement, {"rows": _ROWS, "hours": _HOURS, "until": until})
        connection.execute("VACUUM (FREEZE, ANALYZE) public.query_log")
    return dsn


def _quietly(cluster: Cluster, work: Callable[[], object]) -> float:
    cluster.settle()
    wait_for_quiet()
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _expect_all(done: list[RolledUp]) -> None:
    if (rows := sum(each.rows for each in done)) != _ROWS:
        raise BenchmarkError(f"{rows:,} of {_ROWS:,} queries were rolled up.")


def _group(dsn: str, query: bytes, *before: str) -> None:
    with connect(dsn, statement_seconds=_LONGEST_SECONDS) as connection:
        for statement in before:
            connection.execute(statement.encode())
        if not connection.execute(query).fetchall():
            raise BenchmarkError("The log is empty.")


def _again(dsn: str, hour: Period) -> tuple[float, int]:
    """Seconds that one hour takes once more, and how many rows of other hours were written for it."""
    with connect(dsn) as connection:
        before = _versions(connection)
        began = time.perf_counter()
        roll_up(dsn, hour)
        seconds = time.perf_counter() - began
        changed = before ^ _versions(connection)
    if not changed:
        raise BenchmarkError(f"{hour} was not made again.")
    return seconds, sum(period != hour.start for period, _, _ in changed)


def _versions(connection: Connection) -> set[tuple[datetime, str, str]]:
    return set(connection.execute(_STATISTICS).fetchall())
