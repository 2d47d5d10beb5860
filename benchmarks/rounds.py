"""The measuring itself: in each round every contender has its turn once, so that what drifts drifts for all alike."""

import statistics
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from benchmarks.bucket import bucket
from benchmarks.contender import Contender, Restored, Stage
from benchmarks.data import Cluster
from benchmarks.machine import Others, wait_for_quiet
from benchmarks.measure import Measured, measure
from benchmarks.ours import python_environment
from benchmarks.workplace import Workplace
from ops_workflows.postgres.programs import Programs

_UNDISTURBED = 0.15  # of the cores; the kernel, writing to the disk what was restored, needs some of it
_ATTEMPTS = 4
_IMPORT = "import time, dagster; began = time.perf_counter(); import {}; print(time.perf_counter() - began)"


@dataclass(frozen=True)
class Turn:
    """What one contender did in one round.

    Attributes:
        backup: Its backup.
        restore: Its restore, if it is compared in that.
        others: The share of the cores that other work of the machine took meanwhile, 0 to 1; the worse of the two.
    """

    backup: Measured
    restore: Restored | None
    others: float


def run_rounds(
    place: Workplace,
    programs: Programs,
    cluster: Cluster,
    contenders: Iterable[Contender],
    *,
    rounds: int,
    say: Callable[[str], None],
) -> dict[str, list[Turn]]:
    """Let everyone who is installed have `rounds` turns, alternating; what each did, by name.

    Raises:
        BenchmarkError: One of the programs failed.
    """
    present = [contender for contender in contenders if contender.missing() is None]
    turns: dict[str, list[Turn]] = {contender.name: [] for contender in present}
    for number in range(1, rounds + 1):
        for contender in present:
            turn = _least_disturbed(place, programs, cluster, contender)
            turns[contender.name].append(turn)
            restored = f", restored in {turn.restore.seconds:.1f} s" if turn.restore else ""
            others = f"; others had {turn.others:.0%} of the cores"
            say(f"round {number}: {contender.name}: {turn.backup.seconds:.1f} s{restored}{others}")
    return turns


def import_seconds(place: Workplace, module: str, runs: int) -> float:
    """What importing a module adds to `import dagster`, in fresh processes: the median, in seconds."""
    program = [sys.executable, "-c", _IMPORT.format(module)]
    env = python_environment(place)
    measured = [measure(program, log=place.folder / "import", env=env) for _ in range(runs + 1)]
    return statistics.median(float(run.output) for run in measured[1:])  # the first one compiles


def _least_disturbed(place: Workplace, programs: Programs, cluster: Cluster, contender: Contender) -> Turn:
    """A turn during which the machine had little else to do, or else the best of a few. How fast it was has no say."""
    turns: list[Turn] = []
    while len(turns) < _ATTEMPTS:
        turns.append(_turn(place, programs, cluster, contender))
        if turns[-1].others <= _UNDISTURBED:
            break
    return min(turns, key=lambda turn: turn.others)


def _turn(place: Workplace, programs: Programs, cluster: Cluster, contender: Contender) -> Turn:
    folder = place.make("turn")
    with bucket(place, tls=contender.tls) as empty:
        stage = Stage(place, programs, cluster, empty, folder)
        cluster.settle()
        wait_for_quiet()
        servers = [*empty.service.running_processes(), *cluster.processes()]
        others = Others(servers)
        backup = contender.backup(stage)
        share = others.share(backup)
        cluster.settle()
        others = Others(servers)
        restore = contender.restore(stage, place.make("turn/restored"))
        if restore is not None:
            share = max(share, others.share(restore.whole))
    place.remove(folder)
    return Turn(backup, restore, share)
