"""`python -m benchmarks`: make the data, let everyone have their turns, and print what came of the claims."""

import argparse
import json
import os
import platform
import signal
import statistics
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import table
from benchmarks.claims import CONTENDERS, OURS_AS_IT_COMES
from benchmarks.data import Cluster
from benchmarks.measure import BenchmarkError
from benchmarks.rounds import import_seconds, run_rounds
from benchmarks.workplace import GB, Workplace, workplace
from ops_workflows.errors import OpsError
from ops_workflows.postgres.programs import Programs, find_programs

_NEWEST = 15  # PostgreSQL that pgBackRest 2.45, Debian 12's, knows
_SMALL = 0.1  # of the data, for the comparison of memory
_IMPORT_RUNS = 5
_MISSED = 2
_INTERRUPTED = 130


def main() -> int:
    """Run it all; 0 when every claim holds, 2 when one does not, 1 when it could not be measured."""
    options = _options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # then, too, all that was started is stopped
    try:
        return _run(options)
    except OpsError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("benchmarks: interrupted.", file=sys.stderr)
        return _INTERRUPTED


def _run(options: argparse.Namespace) -> int:
    programs = _programs(options.pg_bin)
    large = int(options.gb * GB)
    small = int(large * _SMALL)
    with workplace(options.dir, large + small) as place:
        # The smaller one first: it also compiles our modules before anything is compared.
        with _cluster(place, programs, "small", small) as cluster:
            mini = run_rounds(place, programs, cluster, [OURS_AS_IT_COMES], rounds=options.runs, say=_say)
            names = [f"{cluster.database_bytes / GB:.1f} GB database"]
        with _cluster(place, programs, "large", large) as cluster:
            turns = run_rounds(place, programs, cluster, CONTENDERS, rounds=options.runs, say=_say)
            size = cluster.database_bytes
            names.append(f"{size / GB:.1f} GB database")
        added = import_seconds(place, "ops_workflows.definitions", _IMPORT_RUNS)
    ours = OURS_AS_IT_COMES.name
    rows = table.compared(turns) + table.memory(mini[ours], turns[ours], (names[0], names[1])) + [table.imports(added)]
    others = [turn.others for each in turns.values() for turn in each]
    about = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "server": f"PostgreSQL {programs.major}, {size / GB:.2f} GB",
        "rounds": options.runs,
        "cores_that_others_had": f"{statistics.median(others):.0%}, at most {max(others):.0%}",
    }
    table.show(rows, "\n".join(f"{name.replace('_', ' ')}: {value}" for name, value in about.items()))
    if options.json:
        options.json.write_text(json.dumps(about | {"rows": table.as_json(rows)}, indent=2) + "\n")
    return _MISSED if any(row.verdict == "MISS" for row in rows) else 0


@contextmanager
def _cluster(place: Workplace, programs: Programs, name: str, size: int) -> Iterator[Cluster]:
    cluster = Cluster(place, programs, name)
    try:
        _say(f"{name}: make {size / GB:.2f} GB of data")
        cluster.create(size)
        yield cluster
    finally:
        cluster.remove()


def _programs(folder: Path) -> Programs:
    if not folder.is_dir():
        raise BenchmarkError(
            f"{folder} is not there: apt install postgresql-{_NEWEST}, the newest that every peer knows, or name "
            "the folder of its programs with --pg-bin."
        )
    programs = find_programs(folder)
    if programs.major > _NEWEST:
        raise BenchmarkError(f"{folder} is PostgreSQL {programs.major}, and not every peer knows one after {_NEWEST}.")
    return programs


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks", description="Measure what is claimed, beside its peers.")
    parser.add_argument("--gb", type=float, default=2.0, help="size of the database (%(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="rounds, of which the median counts (%(default)s)")
    parser.add_argument("--dir", type=Path, help="folder to work in (the system's for temporary files)")
    parser.add_argument("--pg-bin", type=Path, default=Path(f"/usr/lib/postgresql/{_NEWEST}/bin"),
                        help="PostgreSQL's programs (%(default)s)")  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured into a file, too")
    options = parser.parse_args()
    if options.gb < 0.2 or options.runs < 1:
        parser.error("--gb is 0.2 at least, and --runs 1")
    return options


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
