"""What a commit waits for: the bucket to have it, with and without the client waiting, too."""

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.rows import TupleRow

from benchmarks.bucket import bucket, settings
from benchmarks.claims import MOST_BEHIND_SECONDS, MOST_ROUND_TRIPS
from benchmarks.contender import Stage
from benchmarks.data import Cluster, end_of_log
from benchmarks.measure import BenchmarkError
from benchmarks.table import Row, judge
from benchmarks.wal import SLOT, flushed, receiver
from benchmarks.workplace import Workplace
from ops_workflows.postgres.connection import connect
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.postgres.processes import wait_until
from ops_workflows.postgres.programs import Programs
from ops_workflows.storage.s3 import open_store

FLUSH_SECONDS = 10.0
_COMMITS = 600
_PACE_SECONDS = 0.1
_PUTS = 200
_PUT_BYTES = 2000
_SECTION = "no loss at all: a commit waits for the bucket"


def behind(place: Workplace, programs: Programs, cluster: Cluster) -> list[Row]:
    """From a commit to the bucket's acknowledgement, with the default flush interval, under steady traffic.

    Raises:
        BenchmarkError: The receiver failed.
    """
    with _stage(place, programs, cluster) as stage, receiver(stage, flush_seconds=FLUSH_SECONDS):
        seconds = _seconds_behind(cluster)
    p95 = statistics.quantiles(seconds, n=20)[-1]
    bound = FLUSH_SECONDS + MOST_BEHIND_SECONDS
    row = Row("WAL receiver", f"commit to bucket, p95, shipping every {FLUSH_SECONDS:g} s", (p95,), bound=bound)
    return [row.judged(p95 <= bound)]


def synchronous(place: Workplace, programs: Programs, cluster: Cluster) -> list[Row]:
    """Commits of one session after the other, which return once the bucket has them; held against a PUT.

    Raises:
        BenchmarkError: The receiver failed.
    """
    with (
        _stage(place, programs, cluster) as stage,
        receiver(stage, flush_seconds=0),
        connect(cluster.server.dsn()) as connection,
    ):
        alone = _commits(connection)
        puts = _put_milliseconds(stage)
        with _waited_for(connection):
            waiting = _commits(connection)
    mine = Row(_SECTION, "commit, median", (statistics.median(waiting),), "ms")
    put = Row(_SECTION, f"PUT of {_PUT_BYTES} bytes, median", (statistics.median(puts),), "ms")
    return [
        mine,
        Row(_SECTION, "commit, p95", (statistics.quantiles(waiting, n=20)[-1],), "ms"),
        Row(_SECTION, "commit that waits for nobody, median", (statistics.median(alone),), "ms"),
        judge(put, mine, MOST_ROUND_TRIPS),
    ]


@contextmanager
def _stage(place: Workplace, programs: Programs, cluster: Cluster) -> Iterator[Stage]:
    with bucket(place, tls=False) as empty:
        with connect(cluster.server.dsn()) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS benchmark_commits (id bigserial, filler text)")
        yield Stage(place, programs, cluster, empty, place.make("turn"))


def _seconds_behind(cluster: Cluster) -> list[float]:
    committed: list[tuple[Lsn, float]] = []
    acknowledged: list[tuple[Lsn, float]] = []
    done = threading.Event()

    def commit() -> None:
        with connect(cluster.server.dsn()) as connection:
            for _ in range(_COMMITS):
                connection.execute("INSERT INTO benchmark_commits (filler) VALUES (repeat('x', 200))")
                committed.append((end_of_log(connection), time.monotonic()))
                done.wait(_PACE_SECONDS)

    with connect(cluster.server.dsn()) as connection:
        client = threading.Thread(target=commit, daemon=True)
        client.start()

        def all_there() -> bool:
            acknowledged.append((flushed(connection), time.monotonic()))
            return not client.is_alive() and bool(committed) and acknowledged[-1][0] >= committed[-1][0]

        try:
            arrived = wait_until(all_there, _COMMITS * _PACE_SECONDS * 2 + 60)
        finally:
            done.set()
            client.join()
    if not arrived or len(committed) < _COMMITS:
        raise BenchmarkError("The commits did not all reach the bucket.")
    seconds, looked = [], iter(acknowledged)
    place, at = next(looked)
    for lsn, when in committed:
        while place < lsn:
            place, at = next(looked)
        seconds.append(max(0.0, at - when))
    return seconds


def _commits(connection: psycopg.Connection[TupleRow]) -> list[float]:
    taken = []
    for _ in range(_PUTS):
        began = time.perf_counter()
        connection.execute("INSERT INTO benchmark_commits (filler) VALUES (repeat('x', 200))")
        taken.append(1000 * (time.perf_counter() - began))
    return taken


def _put_milliseconds(stage: Stage) -> list[float]:
    store = open_store(settings(stage.bucket))
    taken = []
    for number in range(_PUTS):
        began = time.perf_counter()
        store.put(f"puts/{number}", bytes(_PUT_BYTES))
        taken.append(1000 * (time.perf_counter() - began))
    return taken


@contextmanager
def _waited_for(connection: psycopg.Connection[TupleRow]) -> Iterator[None]:
    """Commits wait for the receiver for the length of a `with`."""
    state = "SELECT sync_state FROM pg_stat_replication WHERE application_name = %s"
    connection.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{SLOT}'")
    try:
        connection.execute("SELECT pg_reload_conf()")
        if not wait_until(lambda: connection.execute(state, [SLOT]).fetchone() == ("sync",), 30):
            raise BenchmarkError("The receiver did not become a synchronous standby.")
        yield
    finally:
        connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
        connection.execute("SELECT pg_reload_conf()")
