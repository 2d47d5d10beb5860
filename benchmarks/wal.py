"""The log on its way into the bucket: a backlog that is caught up with, and an idle receiver."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psutil
import psycopg
from psycopg.rows import TupleRow

from benchmarks.bucket import bucket
from benchmarks.claims import LEAST_CATCH_UP, MOST_IDLE_PERCENT
from benchmarks.contender import Stage
from benchmarks.data import Cluster, end_of_log
from benchmarks.machine import wait_for_quiet
from benchmarks.measure import BenchmarkError, Measured, measure, service
from benchmarks.ours import OPS, Ours
from benchmarks.table import Row, judge
from benchmarks.workplace import GB, Workplace
from ops_workflows.postgres.connection import connect
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.postgres.processes import wait_until
from ops_workflows.postgres.programs import Programs

SLOT = "ops_wal"
_ORIGIN = "origin"  # keeps the backlog, so that each turn can begin with it anew
_IDLE_SECONDS = 30.0
_START_SECONDS = 30.0


def catch_up(
    place: Workplace, programs: Programs, cluster: Cluster, size: int, *, runs: int, say: Callable[[str], None]
) -> list[Row]:
    """A backlog of `size` bytes: ours into the bucket, and pg_receivewal to a local disk, by turns.

    Raises:
        BenchmarkError: One of the two did not.
    """
    with connect(cluster.server.dsn()) as connection:
        connection.execute("SELECT pg_create_physical_replication_slot(%s, true)", [_ORIGIN])
        say(f"write {size / GB:.1f} GB of WAL")
        end = cluster.write_log(size)
        # pg_receivewal leaves once it hears of something behind the end.
        connection.execute("SELECT pg_logical_emit_message(true, 'benchmark', 'the end')")
        ours, theirs = [], []
        for number in range(1, runs + 1):
            with _turn(place, programs, cluster, connection) as stage:
                ours.append(_ours(stage))
            with _turn(place, programs, cluster, connection) as stage:
                theirs.append(_pg_receivewal(stage, end, size))
            say(f"round {number}: WAL: {ours[-1].seconds:.1f} s, pg_receivewal {theirs[-1].seconds:.1f} s")
        connection.execute("SELECT pg_drop_replication_slot(%s)", [_ORIGIN])
    section = f"catch up with {size / GB:.1f} GB of WAL"
    mine = Row(section, "ours, zstd 1, into the bucket", tuple(run.seconds for run in ours))
    peer = Row(section, "pg_receivewal, to a local disk", tuple(run.seconds for run in theirs))
    peak = Row(section, "memory of ours", tuple(run.peak_bytes / 1e6 for run in ours), "MB")
    return [mine, judge(peer, mine, 1 / LEAST_CATCH_UP), peak]


def idle(place: Workplace, programs: Programs, cluster: Cluster) -> list[Row]:
    """What a receiver takes of a core while the server has nothing to send.

    Raises:
        BenchmarkError: It failed.
    """
    with bucket(place, tls=False) as empty:
        stage = Stage(place, programs, cluster, empty, place.make("turn"))
        with receiver(stage, flush_seconds=10) as process:
            wait_for_quiet()
            before, began = sum(process.cpu_times()[:2]), time.monotonic()
            time.sleep(_IDLE_SECONDS)  # the length of the measurement, not a wait for anything
            used = sum(process.cpu_times()[:2]) - before
            percent = 100 * used / (time.monotonic() - began)
    row = Row("WAL receiver", "of a core, while idle", (percent,), "%", bound=MOST_IDLE_PERCENT)
    return [row.judged(percent <= MOST_IDLE_PERCENT)]


@contextmanager
def receiver(stage: Stage, *, flush_seconds: float) -> Iterator[psutil.Process]:
    """`ops wal stream` for the length of a `with`, from when it has sent all that there was; its slot goes with it.

    Raises:
        BenchmarkError: It did not begin, or failed.
    """
    env = Ours("", "zstd", tls=False).environment(stage, OPS_WAL_FLUSH_SECONDS=str(flush_seconds))
    with connect(stage.cluster.server.dsn()) as connection:
        connection.execute("SELECT pg_create_physical_replication_slot(%s, true)", [SLOT])
        try:
            with service([*OPS, "wal", "stream"], log=stage.folder / "receiver", env=env) as process:
                end = end_of_log(connection)
                if not wait_until(lambda: flushed(connection) >= end, _START_SECONDS + flush_seconds):
                    raise BenchmarkError(f"The receiver did not begin: see {stage.folder / 'receiver'}.")
                yield process
        finally:
            _drop(connection, SLOT)


def flushed(connection: psycopg.Connection[TupleRow]) -> Lsn:
    """How far the receiver has told the server that the bucket has acknowledged the log; 0 before it has."""
    query = "SELECT flush_lsn::text FROM pg_stat_replication WHERE application_name = %s AND flush_lsn IS NOT NULL"
    row = connection.execute(query, [SLOT]).fetchone()
    return Lsn.parse(row[0]) if row else Lsn(0)


@contextmanager
def _turn(
    place: Workplace, programs: Programs, cluster: Cluster, connection: psycopg.Connection[TupleRow]
) -> Iterator[Stage]:
    folder = place.make("turn")
    connection.execute("SELECT pg_copy_physical_replication_slot(%s, %s)", [_ORIGIN, SLOT])
    try:
        with bucket(place, tls=False) as empty:
            cluster.settle()
            wait_for_quiet()
            yield Stage(place, programs, cluster, empty, folder)
    finally:
        _drop(connection, SLOT)
        place.remove(folder)


def _ours(stage: Stage) -> Measured:
    env = Ours("", "zstd", tls=False).environment(stage)
    return measure([*OPS, "wal", "catch-up", "--json"], log=stage.folder / "ours", env=env)


def _pg_receivewal(stage: Stage, end: Lsn, size: int) -> Measured:
    target = stage.place.make("turn/received")
    done = measure(
        [stage.programs.path("pg_receivewal"), f"--directory={target}", f"--slot={SLOT}", f"--endpos={end}",
         "--no-loop", f"--host={stage.socket_folder}", "--username=postgres", "--no-password"],
        log=stage.folder / "pg_receivewal",
        account=stage.place.account,
    )  # fmt: skip
    if (received := sum(path.stat().st_size for path in target.iterdir())) < size:
        raise BenchmarkError(f"pg_receivewal wrote {received} bytes of {size}.")
    return done


def _drop(connection: psycopg.Connection[TupleRow], slot: str) -> None:
    """Drop a slot, once whoever used it is gone from the server, too."""

    def dropped() -> bool:
        with suppress(psycopg.errors.ObjectInUse):
            connection.execute("SELECT pg_drop_replication_slot(%s)", [slot])
            return True
        return False

    if not wait_until(dropped, _START_SECONDS):
        raise BenchmarkError(f"The slot {slot} is still in use.")
