"""The application's traffic on its cache at a fixed rate, whatever becomes of earlier statements, by pgbench."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.data import Cluster
from benchmarks.measure import BenchmarkError
from benchmarks.workplace import Workplace
from ops_workflows.postgres.account import identity
from ops_workflows.postgres.processes import wait_until
from ops_workflows.postgres.programs import Programs
from ops_workflows.settings import environment

RATE = 400
"""Statements a second."""
CONNECTIONS = 4

_LONGEST_SECONDS = 600
_WARM_SECONDS = 3.0
_LEAVE_SECONDS = 30
_LOG_FIELDS = 7  # client, transaction, microseconds, script, epoch, its microseconds, lag behind the schedule
# As deploy/traffic.sql weighs the two against each other: 42 to 3.
_READ = """\
\\set n random(1, {living})
SELECT data FROM panchangam_cache WHERE cache_key = 'living:' || :n::text AND expires_at > now();
"""
_WRITE = """\
\\set n random(1, 2000000000)
INSERT INTO panchangam_cache (cache_key, date, latitude, longitude, timezone, data)
VALUES ('new:' || :n::text, '2000-01-01', 1, 1, :n::text, jsonb_build_object('n', :n::bigint, 'pad', repeat('x', 600)))
ON CONFLICT (cache_key) DO UPDATE SET data = excluded.data, expires_at = excluded.expires_at;
"""
_MIX = {14: _READ, 1: _WRITE}  # as deploy/traffic.sql weighs the two against each other: 42 to 3


@dataclass(frozen=True, slots=True)
class Asked:
    """One statement.

    Attributes:
        due: When it should have been sent, seconds since the epoch.
        seconds: From then until its answer.
    """

    due: float
    seconds: float


class Foreground:
    """The traffic while it runs, and what became of it afterwards."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.asked: list[Asked] = []

    def read(self) -> None:
        """Read pgbench's log."""
        for path in self._folder.glob("log.*"):
            for line in path.read_text().splitlines():
                fields = line.split()
                if len(fields) != _LOG_FIELDS or not fields[2].isdigit():
                    raise BenchmarkError(f"pgbench has not done every statement: it says “{line}” in {path}.")
                seconds = int(fields[2]) / 1e6
                self.asked.append(Asked(int(fields[4]) + int(fields[5]) / 1e6 - seconds, seconds))

    def between(self, begin: float, end: float) -> list[float]:
        """Seconds that each statement took which came due between two moments, the quickest first.

        Raises:
            BenchmarkError: There are far fewer than the rate says.
        """
        found = sorted(each.seconds for each in self.asked if begin <= each.due < end)
        if len(found) < 0.9 * RATE * (end - begin):
            raise BenchmarkError(f"Only {len(found)} statements came due in {end - begin:.1f} s, at {RATE} a second.")
        return found


@contextmanager
def foreground(
    place: Workplace, programs: Programs, cluster: Cluster, database: str, living: int
) -> Iterator[Foreground]:
    """Traffic on `living` rows for the length of a `with`, from when it is warm; read afterwards.

    pgbench sends by a schedule of random intervals, the same each time, and measures from when a statement was due.

    Raises:
        BenchmarkError: It failed.
    """
    folder = place.make("foreground")
    command: list[str | Path] = [
        programs.path("pgbench"), "--no-vacuum", "--protocol=prepared", f"--host={cluster.server.host}",
        "--username=postgres", f"--client={CONNECTIONS}", f"--rate={RATE}", f"--time={_LONGEST_SECONDS}",
        "--random-seed=1", "--log", f"--log-prefix={folder / 'log'}",
    ]  # fmt: skip
    for weight, text in _MIX.items():
        script = place.write_private(folder / f"{weight}.sql", text.format(living=living))
        command.append(f"--file={script}@{weight}")
    made, said = Foreground(folder), folder / "said"
    with said.open("wb") as out:
        process = subprocess.Popen(
            [*command, database], stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/", env=environment(),
            **identity(place.account),
        )  # fmt: skip
        try:
            warm = wait_until(lambda: any(folder.glob("log.*")) or process.poll() is not None, _WARM_SECONDS)
            time.sleep(_WARM_SECONDS)  # so long it is left to itself, and not measured
            yield made
            # To pgbench that is the end of its time: it finishes what it has begun, and its log.
            process.send_signal(signal.SIGALRM)
            code: int | None = process.wait(_LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            process.kill()
            process.wait()
    if code != 0 or not warm:
        last = said.read_text(errors="replace").strip()[-500:]
        raise BenchmarkError(f"pgbench failed (exit code {code}): {last}")
    made.read()
