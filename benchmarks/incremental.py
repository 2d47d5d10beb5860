"""An incremental backup of a database that has mostly stayed as it was, beside the full one that it builds on."""

from collections.abc import Callable

from benchmarks.bucket import bucket
from benchmarks.claims import MOST_INCREMENTAL_BYTES, MOST_INCREMENTAL_SECONDS
from benchmarks.contender import Stage
from benchmarks.data import Cluster
from benchmarks.machine import wait_for_quiet
from benchmarks.measure import BenchmarkError, measure
from benchmarks.ours import OPS, Ours
from benchmarks.table import Row, judge
from benchmarks.workplace import Workplace
from ops_workflows.postgres.connection import connect
from ops_workflows.postgres.programs import Programs
from ops_workflows.repository.backup import Backup

_OURS = Ours("", "zstd", tls=False)
_ONE_IN = 1000  # rows of two tables is changed: side by side in the one, page-wise apart in the other
_CHANGES = """
UPDATE audit_log SET old_values = new_values WHERE id <= (SELECT max(id) / {one} FROM audit_log);
UPDATE panchangam_cache SET expires_at = expires_at + interval '1 day'
    WHERE ctid IN (SELECT ctid FROM panchangam_cache TABLESAMPLE SYSTEM (100.0 / {one}) REPEATABLE (1))
"""


def incremental(
    place: Workplace, programs: Programs, cluster: Cluster, runs: int, say: Callable[[str], None]
) -> list[Row]:
    """Full, a few changes, incremental; `runs` times.

    Raises:
        BenchmarkError: The second one was not incremental.
    """
    fulls, parts = [], []
    for number in range(1, runs + 1):
        with bucket(place, tls=False) as empty:
            stage = Stage(place, programs, cluster, empty, place.make("turn"))
            fulls.append(_backup(stage, "full"))
            with connect(cluster.server.dsn()) as connection:
                connection.execute(_CHANGES.format(one=_ONE_IN).encode())
            parts.append(_backup(stage, "incremental"))
        say(f"round {number}: full {fulls[-1][0]:.1f} s, incremental {parts[-1][0]:.1f} s")
    section = f"incremental backup of a mostly unchanged database, PostgreSQL {programs.major}"
    seconds, size = (Row(section, f"incremental, {what}", values, unit) for what, unit, values in _columns(parts))
    full_seconds, full_size = (Row(section, f"full, {what}", values, unit) for what, unit, values in _columns(fulls))
    return [
        *(seconds, judge(full_seconds, seconds, MOST_INCREMENTAL_SECONDS)),
        *(size, judge(full_size, size, MOST_INCREMENTAL_BYTES)),
    ]


def _backup(stage: Stage, kind: str) -> tuple[float, float]:
    stage.cluster.settle()
    wait_for_quiet()
    command = [*OPS, "backup", f"--kind={kind}", "--json"]
    done = measure(command, log=stage.folder / kind, env=_OURS.environment(stage))
    taken = Backup.model_validate_json(done.output)
    if (taken.parent is not None) != (kind == "incremental"):
        raise BenchmarkError(f"A backup that should be {kind} is not: see {stage.folder / kind}.err.")
    return done.seconds, taken.stored_bytes / 1e6


def _columns(measured: list[tuple[float, float]]) -> list[tuple[str, str, tuple[float, ...]]]:
    seconds, sizes = zip(*measured, strict=True)
    return [("time", "s", seconds), ("stored", "MB", sizes)]
