"""What migrating costs: five hundred small files beside psql, a look at where the schema stands, and a rehearsal."""

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

from psycopg import sql

from benchmarks.bucket import bucket
from benchmarks.claims import MOST_LOOK_SECONDS, MOST_MIGRATE, MOST_REHEARSAL_SECONDS
from benchmarks.contender import Stage
from benchmarks.data import Cluster
from benchmarks.machine import wait_for_quiet
from benchmarks.measure import Measured, measure
from benchmarks.ours import OPS, Ours, python_environment
from benchmarks.table import Row, judge
from benchmarks.workplace import Workplace
from ops_workflows.local.seed import seed
from ops_workflows.postgres.connection import connect
from ops_workflows.postgres.programs import Programs
from ops_workflows.schema.apply import migrate_up
from ops_workflows.settings import environment

_FILES = 500
_LOOKS = 7  # of short commands, whose start varies by more than what is measured
_REHEARSED = 10
_SEEDED = 20_000  # queries, with the users and the rest around them
_OWN = Path(__file__).parents[1]
_OURS = Ours("ours, zstd 3", "zstd", tls=False, count_rows=True)
_DATABASES = count(1)
_MIGRATE = """
import sys, time
from pathlib import Path
from ops_workflows.schema.apply import migrate
from ops_workflows.schema.plan import upward
began = time.perf_counter()
migrate(sys.argv[1], Path(sys.argv[2]), upward())
print(time.perf_counter() - began)
"""
# Of what a rehearsal says it took, all but these is restoring.
_OF_ITS_OWN = {"warm up", "migrate", "smoke", "way back"}
# Up and down.
_SMALL = (
    ("CREATE TABLE t{0} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL)", "DROP TABLE t{0}"),
    ("ALTER TABLE t{0} ADD COLUMN kind integer NOT NULL DEFAULT 0", "ALTER TABLE t{0} DROP COLUMN kind"),
    ("CREATE INDEX t{0}_name_idx ON t{0} (name)", "DROP INDEX t{0}_name_idx"),
    ("INSERT INTO t{0} (name) SELECT n::text FROM generate_series(1, 100) AS n", "DELETE FROM t{0}"),
    ("CREATE FUNCTION f{0}() RETURNS text LANGUAGE sql RETURN (SELECT min(name) FROM t{0})", "DROP FUNCTION f{0}"),
)


def migrations(
    place: Workplace, programs: Programs, cluster: Cluster, runs: int, say: Callable[[str], None]
) -> list[Row]:
    """Everything about migrations, on one server.

    Raises:
        BenchmarkError: One of the programs failed.
    """
    say(f"{_FILES} files, a look, and a rehearsal")
    many = _write_small(place.make("many"), _FILES)
    return [
        *_applied(place, programs, cluster, many, runs),
        *_looked(place, cluster, _OWN / "migrations"),
        *_looked(place, cluster, many),
        *_rehearsed(place, cluster, programs, runs),
    ]


def _applied(place: Workplace, programs: Programs, cluster: Cluster, folder: Path, runs: int) -> list[Row]:
    """By turns, each time to an empty database."""
    files = sorted(folder.glob("*.up.sql"))
    psql: list[str | Path] = [programs.path("psql"), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"]
    psql += [f"--file={path}" for path in files]
    ours: list[float] = []
    whole: list[float] = []
    theirs: list[float] = []
    for _ in range(runs):
        script: list[str | Path] = [sys.executable, "-c", _MIGRATE, _database(cluster), folder]
        ours.append(float(_quietly(cluster, place, script, python_environment(place)).output))
        theirs.append(_quietly(cluster, place, [*psql, f"--dbname={_database(cluster)}"], environment()).seconds)
        env = _ours(place, _database(cluster), folder)
        whole.append(_quietly(cluster, place, [*OPS, "migrate", "up"], env).seconds)
    section = f"{len(files)} small migrations of an empty database, PostgreSQL {programs.major}"
    mine = Row(section, "migrate", tuple(ours))
    command = Row(section, "ops migrate up, the whole command", tuple(whole))
    return [mine, command, judge(Row(section, "psql, one session, a commit each", tuple(theirs)), mine, MOST_MIGRATE)]


def _looked(place: Workplace, cluster: Cluster, folder: Path) -> list[Row]:
    """Commands that only look: what they take beyond the start of the program, which is measured in turn with them."""
    dsn = _database(cluster)
    env = _ours(place, dsn, folder)
    files = len(list(folder.glob("*.up.sql")))
    taken = {f"ops migrate plan, {files} pending": _beyond_start(place, "plan", env)}
    migrate_up(dsn, folder)
    taken |= {f"ops migrate {word}, {files} applied": _beyond_start(place, word, env) for word in ("plan", "status")}
    rows = [Row("look, beyond the start", name, seconds, bound=MOST_LOOK_SECONDS) for name, seconds in taken.items()]
    return [row.judged((row.median or 0) <= MOST_LOOK_SECONDS) for row in rows]


def _rehearsed(place: Workplace, cluster: Cluster, programs: Programs, runs: int) -> list[Row]:
    """A rehearsal of small files on the application's schema under its traffic, and how much of it is its own."""
    dsn = _database(cluster)
    folder = place.make("rehearsed")
    shutil.copytree(_OWN / "migrations", folder, dirs_exist_ok=True)
    migrate_up(dsn, folder)
    seed(dsn, rows=_SEEDED, seed=1)
    _write_small(folder, _REHEARSED, after=1000)
    with bucket(place, tls=False) as shared:
        stage = Stage(place, programs, cluster, shared, place.make("turn"))
        env = _OURS.environment(
            stage,
            **_where(dsn, folder),
            OPS_UPKEEP_DSN=dsn,
            OPS_SCRATCH_DIR=str(place.make("scratch")),
            OPS_TRAFFIC_FILE=str(_OWN / "deploy/traffic.sql"),
            OPS_SMOKE_FILE=str(_OWN / "deploy/smoke.sql"),
        )
        measure([*OPS, "wal", "catch-up", "--json"], log=stage.folder / "slot", env=env)
        _OURS.backup(stage)
        measure([*OPS, "wal", "catch-up", "--json"], log=stage.folder / "log", env=env)
        measure([*OPS, "verify", "--rung=booted"], log=stage.folder / "verify", env=env)
        done = [_quietly(cluster, place, [*OPS, "migrate", "rehearse", "--json"], env) for _ in range(runs)]
    records = [json.loads(run.output) for run in done]
    restoring = [sum(took for name, took in record["seconds"].items() if name not in _OF_ITS_OWN) for record in records]
    running = [sum(file["seconds"] for file in record["files"]) for record in records]
    own = [run.seconds - a - b for run, a, b in zip(done, restoring, running, strict=True)]
    section = f"rehearsal of {_REHEARSED} files, PostgreSQL {programs.major}"
    mine = Row(section, "its own", tuple(own), bound=MOST_REHEARSAL_SECONDS)
    return [
        Row(section, "the whole command", tuple(run.seconds for run in done)),
        Row(section, "of it, restoring", tuple(restoring)),
        Row(section, "of it, the files' SQL", tuple(running)),
        mine.judged((mine.median or 0) <= MOST_REHEARSAL_SECONDS),
        *(
            Row(section, f"of its own, {name}", tuple(record["seconds"][name] for record in records))
            for name in records[0]["seconds"]
            if name in _OF_ITS_OWN - {"migrate"}
        ),
    ]


def _write_small(folder: Path, number: int, after: int = 0) -> Path:
    """So many files of a statement each, five of them around one table."""
    for each in range(number):
        table, kind = divmod(each, len(_SMALL))
        for direction, text in zip(("up", "down"), _SMALL[kind], strict=True):
            (folder / f"{after + each + 1:06d}_small.{direction}.sql").write_text(f"{text.format(table)};\n")
    return folder


def _database(cluster: Cluster) -> str:
    """DSN of a new, empty database."""
    name = f"migrated_{next(_DATABASES)}"
    with connect(cluster.server.dsn()) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return f"postgresql:///{name}?host={cluster.server.host}&user=postgres"


def _where(dsn: str, folder: Path) -> dict[str, str]:
    return {"OPS_OWNER_DSN": dsn, "OPS_MIGRATIONS_DIR": str(folder)}


def _ours(place: Workplace, dsn: str, folder: Path) -> dict[str, str]:
    return python_environment(place) | _where(dsn, folder) | {"OPS_HOME": str(place.folder)}


def _beyond_start(place: Workplace, word: str, env: dict[str, str]) -> tuple[float, ...]:
    wait_for_quiet()
    log = place.folder / "migrations.log"
    start, look = ([*OPS, "migrate", each] for each in ("--help", word))
    return tuple(
        measure(look, log=log, env=env).seconds - measure(start, log=log, env=env).seconds for _ in range(_LOOKS)
    )


def _quietly(cluster: Cluster, place: Workplace, command: Sequence[str | Path], env: dict[str, str]) -> Measured:
    cluster.flush()
    wait_for_quiet()
    return measure(command, log=place.folder / "migrations.log", env=env)
