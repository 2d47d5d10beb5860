"""Back to a moment: a base backup and the WAL behind it, from the bucket to a server that answers."""

import json
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.bucket import bucket
from benchmarks.claims import MOST_RECOVERY
from benchmarks.contender import Stage
from benchmarks.data import Cluster
from benchmarks.machine import wait_for_quiet
from benchmarks.measure import BenchmarkError, measure
from benchmarks.ours import OPS, Ours
from benchmarks.peers import PgBackRest, archive_command
from benchmarks.table import Row, judge
from benchmarks.wal import SLOT
from benchmarks.workplace import GB, Workplace
from ops_workflows.postgres.connection import connect
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.postgres.processes import wait_until
from ops_workflows.postgres.programs import Programs
from ops_workflows.postgres.server import DataDirectory, Server

_OURS = Ours("ours, zstd 3, TLS", "zstd", tls=True)
_PEER = PgBackRest("pgBackRest, zst 3, 2 processes, TLS", "zst", 3, bundle=True, archived=True)
_ARCHIVING_SECONDS = 600
_REPLAY_SECONDS = 600
_BESIDES = "verify"  # what no peer does


def recovery(
    place: Workplace, programs: Programs, size: int, log: int, *, runs: int, say: Callable[[str], None]
) -> list[Row]:
    """A cluster of `size` bytes, protected by both; `log` bytes of WAL; then both recover to its end, by turns.

    Raises:
        BenchmarkError: One of the two did not.
    """
    section = f"recovery of {size / GB:.1f} GB and {log / GB:.1f} GB of WAL, until it answers"
    if missing := _PEER.missing():
        return [Row(section, _PEER.name, note=missing)]
    folder = place.make("recovery")
    own = {"archive_mode": "on", "archive_command": archive_command(folder)}
    cluster = Cluster(place, programs, "protected", **own)
    try:
        say(f"protected: make {size / GB:.2f} GB of data, and back it up by both")
        cluster.create(size)
        with bucket(place, tls=True) as shared:
            stage = Stage(place, programs, cluster, shared, folder)
            end = _protect(stage, log, say)
            cluster.server.stop()  # both recover on a machine that has nothing else to do
            ours, verified, theirs = [], [], []
            for number in range(1, runs + 1):
                seconds, besides = _recover_ours(stage, place.make("recovered") / "data", end)
                ours.append(seconds - besides)
                verified.append(besides)
                theirs.append(_recover_theirs(stage, place.make("recovered"), end))
                say(f"round {number}: recovered in {ours[-1]:.1f} s, pgBackRest in {theirs[-1]:.1f} s")
    finally:
        cluster.remove()
        place.remove(place.folder / "recovered")
    mine = Row(section, _OURS.name, tuple(ours))
    return [mine, judge(Row(section, _PEER.name, tuple(theirs)), mine, MOST_RECOVERY),
            Row(section, "besides: ours also verifies every file", tuple(verified))]  # fmt: skip


def _protect(stage: Stage, log: int, say: Callable[[str], None]) -> Lsn:
    """Both back up, the log is written, and both have it; where it ends."""
    server = stage.cluster.server
    with connect(server.dsn()) as connection:
        connection.execute("SELECT pg_create_physical_replication_slot(%s, true)", [SLOT])
        _PEER.backup(stage)
        _OURS.backup(stage)
        say(f"write {log / GB:.1f} GB of WAL")
        end = stage.cluster.write_log(log)
        connection.execute("SELECT pg_logical_emit_message(true, 'benchmark', 'behind the end')")
        ((segment,),) = connection.execute("SELECT pg_walfile_name(pg_switch_wal())").fetchall()
        measure([*OPS, "wal", "catch-up", "--json"], log=stage.folder / "catch-up", env=_OURS.environment(stage))
        archived = "SELECT last_archived_wal >= %s FROM pg_stat_archiver"
        if not wait_until(lambda: connection.execute(archived, [segment]).fetchone() == (True,), _ARCHIVING_SECONDS):
            raise BenchmarkError("pgBackRest did not archive the WAL: see the server's log.")
    return end


def _recover_ours(stage: Stage, target: Path, end: Lsn) -> tuple[float, float]:
    """Seconds until it answers, and of these those of the verification."""
    stage.cluster.flush()
    wait_for_quiet()
    command = [*OPS, "restore", f"--to={end}", f"--target-dir={target}", "--keep-running", "--json"]
    try:
        done = measure(command, log=stage.folder / "ours-recover", env=_OURS.environment(stage))
    finally:
        DataDirectory(target).stop("immediate")
    return done.seconds, float(json.loads(done.output)["seconds"][_BESIDES])


def _recover_theirs(stage: Stage, target: Path, end: Lsn) -> float:
    stage.cluster.flush()
    wait_for_quiet()
    restored = _PEER.restore_to(stage, target, end)
    server = Server(
        stage.programs, target, log_file=stage.folder / "peer.log", account=stage.place.account,
        # As ours starts its server: what it is for is to recover, and then to answer.
        options={"listen_addresses": "", "unix_socket_directories": str(stage.folder), "archive_mode": "off",
                 "hot_standby": "off", "shared_buffers": "128MB", "max_wal_size": "4GB", "autovacuum": "off"},
    )  # fmt: skip
    began = time.perf_counter()
    try:
        server.start(_REPLAY_SECONDS)
        return restored.seconds + time.perf_counter() - began
    finally:
        server.stop("immediate")
