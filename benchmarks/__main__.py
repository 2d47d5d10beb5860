"""`python -m benchmarks`: make the data, let everyone have their turns, and print what came of the claims."""

import argparse
import json
import os
import platform
import signal
import statistics
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import table
from benchmarks.claims import CONTENDERS, OURS_AS_IT_COMES
from benchmarks.commits import behind, synchronous
from benchmarks.data import Cluster
from benchmarks.incremental import incremental
from benchmarks.keys import keys
from benchmarks.measure import BenchmarkError
from benchmarks.migrations import migrations
from benchmarks.ours import warm_up
from benchmarks.proof import checksums, drill, stored
from benchmarks.pruning import pruning
from benchmarks.recovery import recovery
from benchmarks.rollups import rollups
from benchmarks.rounds import import_seconds, run_rounds
from benchmarks.wal import catch_up, idle
from benchmarks.workplace import GB, Workplace, workplace
from ops_workflows.errors import OpsError
from ops_workflows.postgres.programs import Programs, find_programs

_NEWEST = 15  # PostgreSQL that pgBackRest 2.45, Debian 12's, knows
_SMALL = 0.1  # of the data, for the comparison of memory
_IMPORT_RUNS = 5
_LOG = 0.5  # of the data: as much WAL there is to catch up with, or to replay
_PARTS = ("base", "wal", "recovery", "incremental", "proof", "migrations", "rollup", "prune", "keys")
_MANY = 30_000_000  # bytes of the database of which there are a hundred backups
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
    rows: list[table.Row] = []
    about = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "server": f"PostgreSQL {programs.major}, {large / GB:.2f} GB",
        "rounds": options.runs,
    }
    with workplace(options.dir, int(large * (1 + _SMALL))) as place:
        warm_up(place)
        if "base" in options.only:
            found, others = _base(place, programs, large, options.runs)
            rows += found
            about["cores_that_others_had"] = f"{statistics.median(others):.0%}, at most {max(others):.0%}"
        if "wal" in options.only:
            rows += _wal(place, programs, large, options.runs)
        if "recovery" in options.only:
            rows += recovery(place, programs, large, int(large * _LOG), runs=options.runs, say=_say)
        if "incremental" in options.only:
            rows += _incremental(place, large, options.runs)
        if "proof" in options.only:
            rows += _proof(place, programs, large, options.runs)
        if "migrations" in options.only:
            rows += _migrations(place, options.runs)
        rows += _upkeep(place, options.only, options.runs)
    table.show(rows, "\n".join(f"{name.replace('_', ' ')}: {value}" for name, value in about.items()))
    if options.json:
        options.json.write_text(json.dumps(about | {"rows": table.as_json(rows)}, indent=2) + "\n")
    return _MISSED if any(row.verdict == "MISS" for row in rows) else 0


def _base(place: Workplace, programs: Programs, size: int, runs: int) -> tuple[list[table.Row], list[float]]:
    """Base backups and their restores; and the share of the cores that others had in each turn."""
    with _cluster(place, programs, "small", int(size * _SMALL)) as cluster:
        mini = run_rounds(place, programs, cluster, [OURS_AS_IT_COMES], rounds=runs, say=_say)
        names = [f"{cluster.database_bytes / GB:.1f} GB database"]
    with _cluster(place, programs, "large", size) as cluster:
        turns = run_rounds(place, programs, cluster, CONTENDERS, rounds=runs, say=_say)
        names.append(f"{cluster.database_bytes / GB:.1f} GB database")
    added = import_seconds(place, "ops_workflows.definitions", _IMPORT_RUNS)
    ours = OURS_AS_IT_COMES.name
    rows = table.compared(turns) + table.memory(mini[ours], turns[ours], (names[0], names[1])) + [table.imports(added)]
    return rows, [turn.others for each in turns.values() for turn in each]


def _wal(place: Workplace, programs: Programs, size: int, runs: int) -> list[table.Row]:
    with _cluster(place, programs, "wal", size // 4) as cluster:
        return [
            *catch_up(place, programs, cluster, int(size * _LOG), runs=runs, say=_say),
            *idle(place, programs, cluster),
            *behind(place, programs, cluster),
            *synchronous(place, programs, cluster),
        ]


def _incremental(place: Workplace, size: int, runs: int) -> list[table.Row]:
    programs = find_programs(None)  # the newest there is, which comes with the embedded stack
    with _cluster(place, programs, "summarized", size, summarize_wal="on") as cluster:
        return incremental(place, programs, cluster, runs, _say)


def _proof(place: Workplace, programs: Programs, size: int, runs: int) -> list[table.Row]:
    with _cluster(place, programs, "verified", size) as cluster:
        rows = checksums(place, programs, cluster, runs, _say)
    with _cluster(place, programs, "many", _MANY) as cluster:
        rows += stored(place, programs, cluster, runs)
    newest = find_programs(None)
    with _cluster(place, newest, "drilled", size) as cluster:
        return rows + drill(place, newest, cluster, runs)


def _migrations(place: Workplace, runs: int) -> list[table.Row]:
    newest = find_programs(None)
    with _cluster(place, newest, "migrated", _MANY) as cluster:
        return migrations(place, newest, cluster, runs, _say)


def _upkeep(place: Workplace, only: Collection[str], runs: int) -> list[table.Row]:
    """Rollups, pruning and the keys of Valkey; each with data of its own."""
    newest = find_programs(None)
    rows: list[table.Row] = []
    if "rollup" in only:
        with _cluster(place, newest, "rolled", _MANY) as cluster:
            rows += rollups(cluster, newest, runs, _say)
    if "prune" in only:
        with _cluster(place, newest, "pruned", _MANY) as cluster:
            rows += pruning(place, newest, cluster, runs, _say)
    if "keys" in only:
        rows += keys(place, runs, _say)
    return rows


@contextmanager
def _cluster(place: Workplace, programs: Programs, name: str, size: int, **options: str) -> Iterator[Cluster]:
    cluster = Cluster(place, programs, name, **options)
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
    parser.add_argument("--only", nargs="+", choices=_PARTS, default=_PARTS, help="parts of it (all)")
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
