"""What the application's traffic feels while a million cached rows are pruned, and how fast they go without it."""

import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from psycopg import sql

from benchmarks.claims import LEAST_GENTLER, LEAST_PRUNED_PER_SECOND, MOST_FELT
from benchmarks.data import Cluster
from benchmarks.foreground import CONNECTIONS, RATE, foreground
from benchmarks.machine import wait_for_quiet
from benchmarks.measure import BenchmarkError, measure
from benchmarks.ours import OPS, python_environment
from benchmarks.table import Row, judge
from benchmarks.workplace import Workplace
from ops_workflows.postgres.connection import connect
from ops_workflows.postgres.programs import Programs
from ops_workflows.schema.apply import migrate_up
from ops_workflows.settings import environment

_EXPIRED, _LIVING = 1_000_000, 200_000
_ALONE_SECONDS = 30.0
_FILL_SECONDS = 900
_MIGRATIONS = Path(__file__).parents[1] / "migrations"
_FILL = files(__package__).joinpath("cache.sql").read_text().encode()
_DELETE = "DELETE FROM panchangam_cache WHERE expires_at < now()"
_LEFT = "SELECT count(*) FROM panchangam_cache WHERE expires_at < now()"


@dataclass
class _Taken:
    """What all rounds took: p99 in milliseconds, and the rest in seconds."""

    alone: list[float] = field(default_factory=list)
    pruned: list[float] = field(default_factory=list)
    pruned_and_vacuumed: list[float] = field(default_factory=list)
    deleted: list[float] = field(default_factory=list)
    pruning: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    deleting: list[float] = field(default_factory=list)
    idle: list[float] = field(default_factory=list)
    idle_vacuum: list[float] = field(default_factory=list)


def pruning(place: Workplace, programs: Programs, cluster: Cluster, runs: int, say: Callable[[str], None]) -> list[Row]:
    """Each round on copies of one database: traffic alone, while it is pruned, and while one DELETE does it.

    Raises:
        BenchmarkError: One of the programs failed, or rows that have expired are left.
    """
    say(f"make {_EXPIRED + _LIVING:,} cached rows")
    _fill(cluster)
    taken = _Taken()
    for number in range(1, runs + 1):
        _round(place, programs, cluster, taken)
        say(
            f"round {number}: p99 {taken.alone[-1]:.2f} ms alone, {taken.pruned[-1]:.2f} ms while rows are pruned, "
            f"{taken.deleted[-1]:.2f} ms beside one DELETE; {_EXPIRED / taken.idle[-1]:,.0f} rows/s with nobody there"
        )
    return _rows(taken, programs)


def _round(place: Workplace, programs: Programs, cluster: Cluster, taken: _Taken) -> None:
    with _copy(cluster, "alone") as name, foreground(place, programs, cluster, name, _LIVING) as asked:
        begin = time.time()
        time.sleep(_ALONE_SECONDS)  # the length of the measurement, not a wait for anything
        end = time.time()
    taken.alone.append(_p99(asked.between(begin, end)))
    with _copy(cluster, "pruned") as name:
        with foreground(place, programs, cluster, name, _LIVING) as asked:
            begin = time.time()
            figures = _prune(place, cluster, name)
            end = time.time()
        _expect_gone(cluster, name)
    # The command's own clock starts once it has been imported, and ends with it.
    gone = end - figures["seconds"] + figures["deleting_seconds"]
    taken.pruned.append(_p99(asked.between(begin, gone)))
    taken.pruned_and_vacuumed.append(_p99(asked.between(begin, end)))
    taken.pruning.append(figures["deleting_seconds"])
    taken.whole.append(end - begin)
    with _copy(cluster, "deleted") as name:
        with foreground(place, programs, cluster, name, _LIVING) as asked:
            begin = time.time()
            _delete(place, programs, cluster, name)
            end = time.time()
        _expect_gone(cluster, name)
    taken.deleted.append(_p99(asked.between(begin, end)))
    taken.deleting.append(end - begin)
    with _copy(cluster, "idle") as name:
        figures = _prune(place, cluster, name)
    taken.idle.append(figures["deleting_seconds"])
    taken.idle_vacuum.append(figures["vacuum_seconds"])


def _rows(taken: _Taken, programs: Programs) -> list[Row]:
    felt = f"p99 of {RATE} statements/s, {CONNECTIONS} connections, PostgreSQL {programs.major}"
    mine = Row(felt, f"while {_EXPIRED:,} rows are pruned", tuple(taken.pruned), "ms")
    whole = Row(felt, "while they are pruned and vacuumed", tuple(taken.pruned_and_vacuumed), "ms")
    alone = Row(felt, "nothing else; the aim for pruning", tuple(taken.alone), "ms")
    alone_too = Row(felt, "nothing else; for both", tuple(taken.alone), "ms")
    at_once = Row(felt, "while one DELETE takes them all", tuple(taken.deleted), "ms")
    most, speed = _EXPIRED / LEAST_PRUNED_PER_SECOND, f"{_EXPIRED:,} expired rows go"
    idle = Row(speed, "pruned with nobody else there", tuple(taken.idle), bound=round(most, 2))
    return [
        mine,
        whole,
        judge(alone, mine, MOST_FELT),
        judge(alone_too, whole, MOST_FELT),
        judge(at_once, mine, 1 / LEAST_GENTLER),
        idle.judged((idle.median or 0) <= most),
        Row(speed, "the vacuum after it", tuple(taken.idle_vacuum)),
        Row(speed, "pruned beside the traffic", tuple(taken.pruning)),
        Row(speed, "the whole command, beside the traffic", tuple(taken.whole)),
        Row(speed, "one DELETE, beside the traffic", tuple(taken.deleting)),
    ]


def _fill(cluster: Cluster) -> None:
    with connect(cluster.server.dsn()) as connection:
        connection.execute("CREATE DATABASE cache")
    dsn = _dsn(cluster, "cache")
    migrate_up(dsn, _MIGRATIONS)
    with connect(dsn, statement_seconds=_FILL_SECONDS) as connection:
        connection.execute(_FILL, {"expired": _EXPIRED, "living": _LIVING})
        connection.execute("VACUUM (FREEZE, ANALYZE) public.panchangam_cache")


@contextmanager
def _copy(cluster: Cluster, name: str) -> Iterator[str]:
    """A database as it was filled, all of it written back and in the page cache, for the length of a `with`."""
    new = sql.Identifier(name)
    with connect(cluster.server.dsn(), statement_seconds=_FILL_SECONDS) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE cache STRATEGY file_copy").format(new))
        try:
            cluster.settle()
            wait_for_quiet()
            yield name
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} (FORCE)").format(new))


def _prune(place: Workplace, cluster: Cluster, database: str) -> dict[str, float]:
    env = python_environment(place) | {"OPS_UPKEEP_DSN": _dsn(cluster, database), "OPS_HOME": str(place.folder)}
    done = measure([*OPS, "cache", "prune", "--yes", "--json"], log=place.folder / "prune", env=env)
    figures: dict[str, float] = json.loads(done.output)["table"]
    return figures


def _delete(place: Workplace, programs: Programs, cluster: Cluster, database: str) -> None:
    command: list[str | Path] = [programs.path("psql"), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"]
    measure([*command, f"--command={_DELETE}", _dsn(cluster, database)], log=place.folder / "delete", env=environment())


def _expect_gone(cluster: Cluster, database: str) -> None:
    with connect(_dsn(cluster, database)) as connection:
        ((left,),) = connection.execute(_LEFT).fetchall()
    if left:
        raise BenchmarkError(f"{left:,} rows that have expired are left in {database}.")


def _dsn(cluster: Cluster, database: str) -> str:
    return f"postgresql:///{database}?host={cluster.server.host}&user=postgres"


def _p99(seconds: Sequence[float]) -> float:
    return statistics.quantiles(seconds, n=100)[-1] * 1e3
