"""One table as it was at a moment, beside the living one: out of the cluster, recovered in a scratch server."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals

import pytest
from pydantic import SecretStr

from ops_workflows.backup.mirror import mirror
from ops_workflows.backup.take import take_backup
from ops_workflows.errors import RefusedError
from ops_workflows.restore.moment import AtTime, parse_moment
from ops_workflows.restore.table import recover_table
from ops_workflows.settings import Settings
from tests.support.command import ops_here
from tests.support.continuous import caught_up, receiving, repository_of, values
from tests.support.killing import ended_at
from tests.support.servers import ScratchServer, reachable_folder, scratch_server

ROWS = 500


@dataclass
class Past:
    """A database `shop` with a history.

    Attributes:
        server: Where it lives on.
        settings: Of its repository.
        moments: By name, times at which nothing happened, in order.
        lsn: Of the moment `whole`.
    """

    server: ScratchServer
    settings: Settings
    moments: dict[str, datetime] = field(default_factory=dict)
    lsn: str = ""

    def at(self, name: str) -> str:
        return self.moments[name].isoformat()

    def query(self, text: str) -> list[object]:
        with self.server.connect("shop") as connection:
            return values(connection, text)

    def happens(self, moment: str, *statements: str) -> None:
        """The statements, each committed by itself, after a moment."""
        with self.server.connect("shop") as connection:
            (self.moments[moment],) = values(connection, "SELECT clock_timestamp() FROM pg_sleep(0.02)")
            connection.execute("SELECT pg_sleep(0.02)")
            for statement in statements:
                connection.execute(statement.encode())

    def left(self) -> list[Path]:
        """Scratch folders."""
        scratch = self.settings.scratch
        return [found for found in scratch.iterdir() if found.is_dir()] if scratch.exists() else []


@pytest.fixture(scope="module")
def past(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Past]:
    with scratch_server(track_commit_timestamp="on") as server:
        with server.connect() as connection:
            connection.execute("CREATE DATABASE shop")
        own = server.settings(settings, wal_flush_seconds=0.2, owner_dsn=SecretStr(server.dsn("ops_owner", "shop")))
        past = Past(server, own)
        with server.connect("shop") as connection:
            connection.execute("GRANT CREATE ON SCHEMA public TO ops_owner")
            connection.execute("CREATE TABLE orders (id int PRIMARY KEY, note text NOT NULL CHECK (note <> ''))")
            connection.execute('CREATE SCHEMA "Odd"; GRANT CREATE, USAGE ON SCHEMA "Odd" TO ops_owner')
            connection.execute('CREATE TABLE "Odd"."Parts.2" (n int, at timestamptz) PARTITION BY RANGE (n)')
            connection.execute('CREATE TABLE low PARTITION OF "Odd"."Parts.2" FOR VALUES FROM (0) TO (100)')
            connection.execute('CREATE TABLE high PARTITION OF "Odd"."Parts.2" FOR VALUES FROM (100) TO (1000)')
            connection.execute("CREATE UNLOGGED TABLE fleeting AS SELECT 1 AS n")
        with receiving(own, server):
            take_backup(own)
            past.happens(
                "empty",
                f"INSERT INTO orders SELECT n, 'order ' || n FROM generate_series(1, {ROWS}) AS n",
                'INSERT INTO "Odd"."Parts.2" SELECT n, now() FROM generate_series(1, 300) AS n',
            )
            past.lsn = str(past.query("SELECT pg_current_wal_insert_lsn()::text")[0])
            past.happens("whole", "SELECT pg_create_restore_point('before the mistake')")
            past.happens("before the mistake", "DELETE FROM orders WHERE id = 7")
            past.happens("before the drop", 'DROP TABLE "Odd"."Parts.2"')
            past.happens("after all", "CREATE TABLE later AS SELECT 1 AS n")
            caught_up(server)
        yield past


def test_a_row_that_was_deleted_is_back_in_the_copy(past: Past, tmp_path: Path) -> None:
    at = past.moments["before the mistake"]
    done = ops_here(past.settings, tmp_path, "restore-table", "public.orders", "--to", at.isoformat(), "--json")
    assert done.code == 0, done
    said = json.loads(done.out)
    assert said["table"] == f'"public"."orders_restored_{at.astimezone(UTC):%Y%m%d_%H%M%S}"'
    assert (said["rows"], said["left_out"], said["moment"]) == (ROWS, [], str(AtTime(at)))
    table = said["table"]
    assert past.query(f"SELECT id FROM {table} EXCEPT SELECT id FROM orders") == [7]
    assert past.query(f"SELECT note FROM {table} WHERE id = 7") == ["order 7"]
    assert past.query("SELECT count(*) FROM orders") == [ROWS - 1]
    constraints = f"SELECT contype::text FROM pg_constraint WHERE conrelid = '{table}'::regclass AND contype <> 'n'"
    assert sorted(map(str, past.query(constraints))) == ["c", "p"]
    again = ops_here(past.settings, tmp_path, "restore-table", "public.orders", "--to", at.isoformat())
    assert again.code == 1
    assert "is there already and nothing is ever overwritten" in again.sentence
    assert past.left() == []


@pytest.mark.parametrize("wanted", ['"Odd"."Parts.2"', "Odd.Parts.2"])
def test_a_table_that_was_dropped_by_mistake_is_back_as_it_was_just_before(
    past: Past, tmp_path: Path, wanted: str
) -> None:
    """Of a partitioned table the rows of all partitions come, into one."""
    name = f"public.back_{len(wanted)}"
    command = ("restore-table", wanted, "--to", past.at("before the drop"), "--as", name)
    done = ops_here(past.settings, tmp_path, *command)
    assert done.code == 0, done
    assert "300, as they were at " in done.out
    assert past.query(f"SELECT sum(n)::int FROM {name}") == [sum(range(1, 301))]
    too_late = ops_here(past.settings, tmp_path, *command[:3], past.at("after all"), "--as", "public.too_late")
    assert too_late.code == 1
    assert "had no table" in too_late.sentence


@pytest.mark.parametrize(("to", "rows"), [("lsn", ROWS), ("name:before the mistake", ROWS), ("latest", ROWS - 1)])
def test_an_lsn_a_restore_point_and_the_end_are_moments_too(past: Past, to: str, rows: int) -> None:
    """The name then has the time of the last commit before the moment."""
    moment = parse_moment(past.lsn if to == "lsn" else to)
    table = f"public.orders_{to[:4].strip(':')}"
    repository = repository_of(past.settings, past.server)
    done = recover_table(past.settings, repository, "public.orders", moment, target=table)
    assert done.copied.rows == rows
    if to == "lsn":
        recover_table(past.settings, repository, '"Odd"."Parts.2"', moment)
        (name,) = past.query("SELECT relname FROM pg_class WHERE relname LIKE 'Parts%restored%'")
        named = datetime.strptime(str(name), "Parts.2_restored_%Y%m%d_%H%M%S").replace(tzinfo=UTC)
        assert past.moments["empty"].replace(microsecond=0) <= named <= past.moments["whole"]


def test_from_another_repository_with_the_first_one_gone(
    past: Past, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    url = tmp_path_factory.mktemp("second").as_uri()
    mirror(past.settings.model_copy(update={"mirror_url": url}))
    gone = past.settings.model_copy(update={"s3_endpoint_url": "http://127.0.0.1:1", "s3_attempts": 1})
    where = ("--to", past.at("whole"), "--as", "public.from_second", "--repository", url)
    done = ops_here(gone, tmp_path, "restore-table", "public.orders", *where)
    assert done.code == 0, done
    assert past.query("SELECT count(*) FROM from_second") == [ROWS]


@pytest.mark.parametrize(
    ("wanted", "more", "says"),
    [
        ("public.nothing", {}, "had no table public.nothing"),
        ("public.later", {"to": "whole"}, "had no table public.later"),
        ("public.fleeting", {}, "was unlogged"),
        ("public.orders", {"database": "postgres", "to": "whole"}, "had no table public.orders"),
    ],
)
def test_a_table_that_was_not_there(past: Past, tmp_path: Path, wanted: str, more: dict[str, str], says: str) -> None:
    database = ("--database", more["database"]) if "database" in more else ()
    with past.server.connect(more.get("database", "shop")) as connection:
        connection.execute("GRANT CREATE ON SCHEMA public TO ops_owner")
    done = ops_here(
        past.settings, tmp_path, "restore-table", wanted, "--to", past.at(more.get("to", "after all")), *database
    )
    assert done.code == 1
    assert says in done.sentence
    assert past.left() == []


def test_a_database_that_was_not_there_yet(past: Past) -> None:
    with past.server.connect() as connection:
        connection.execute("CREATE DATABASE new")
    with past.server.connect("new") as connection:
        connection.execute("GRANT CREATE ON SCHEMA public TO ops_owner")
    repository, moment = repository_of(past.settings, past.server), AtTime(past.moments["whole"])
    with pytest.raises(RefusedError, match="There was no database new at "):
        recover_table(past.settings, repository, "public.orders", moment, database="new")
    assert past.left() == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--to", "2001-01-01T00:00:00Z"), "cannot be reached. The window is "),
        (("--to", "2026-01-31T02:00:00"), "has no time zone"),
        (("--to", "yesterday"), "is no moment"),
        (("--to", "latest", "--from", "latest"), "--from names a dump and --to a moment: give one of them"),
        (("--to", "latest", "--as", "nowhere.orders"), "has no schema nowhere"),
        (("--to", "latest", "--as", "public.orders"), "is there already"),
        (("--to", "latest", "--as", "orders"), "write schema.table"),
        (("--to", "latest", "--repository", "ftp://x"), "names no repository"),
        (("--to", "latest", "--system", "1"), "knows no cluster '1'"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(
    past: Past, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], says: str
) -> None:
    no_server = past.settings.model_copy(update={"scratch_dir": Path("/proc/no-work-was-begun")})
    done = ops_here(no_server, tmp_path, "restore-table", "public.orders", *arguments)
    assert done.code == 1
    assert says in done.sentence


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of its own with 20 MB."""
    with reachable_folder() as folder:
        options = ["-t", "tmpfs", "-o", "size=20m,mode=0711"]
        mounted = subprocess.run(["mount", *options, "tmpfs", folder], capture_output=True, timeout=10, check=False)
        if mounted.returncode:
            pytest.skip("only root can mount a small file system")
        yield folder
        subprocess.run(["umount", folder], timeout=10, check=True)


def test_no_room_is_refused_and_nothing_is_left(past: Past, tmp_path: Path, small_disk: Path) -> None:
    small = past.settings.model_copy(update={"scratch_dir": small_disk})
    done = ops_here(
        small, tmp_path, "restore-table", "public.orders", "--to", past.at("whole"), "--as", "public.no_room"
    )
    assert done.code == 1
    assert "has too little room" in done.sentence
    assert [found for found in small_disk.iterdir() if found.is_dir()] == []
    assert past.query("SELECT to_regclass('public.no_room')") == [None]


@pytest.mark.parametrize("number", [SIGTERM, SIGKILL])
def test_killed_in_the_middle_it_leaves_nothing(past: Past, tmp_path: Path, number: Signals) -> None:
    """What -9 leaves on the disk, the next restore removes."""
    before = past.query("SELECT count(*) FROM pg_class")
    command = ("ops", "restore-table", "public.orders", "--to", past.at("whole"), "--as", f"public.killed_{number}")
    at = lambda asked: asked.startswith("GET") and "base.tar" in asked  # noqa: E731
    ended = ended_at(past.settings, tmp_path, at, *command, number=number)
    assert ended.acted
    assert past.query("SELECT count(*) FROM pg_class") == before
    assert bool(past.left()) == (number == SIGKILL)
    done = ops_here(past.settings, tmp_path, *command[1:])
    assert done.code == 0, done
    assert ("left by a restore that was killed" in done.err) == (number == SIGKILL)
    assert past.left() == []
