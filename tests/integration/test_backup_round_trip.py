"""Backup, restore, compare: with everything in the database that others stumble over."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from ops_workflows.backup.take import take_backup
from ops_workflows.postgres.account import hand_over, server_account
from ops_workflows.postgres.server import DataDirectory
from ops_workflows.proof.rungs import Climb
from ops_workflows.repository.backup import Backup
from ops_workflows.repository.catalogue import Repository, open_repository
from ops_workflows.repository.rungs import Rung
from ops_workflows.restore import run
from ops_workflows.settings import Settings
from tests.support.bucket import named
from tests.support.command import ops_here
from tests.support.ladder import climb
from tests.support.servers import ScratchServer, fill_with_noise, reachable_folder, scratch_server

ODD = "Ünïcode; \"drop\" 'it'"
TABLES = 1000
BIG = 50 * 1024 * 1024


@pytest.fixture(scope="module")
def server() -> Iterator[ScratchServer]:
    with scratch_server() as made:
        fill_with_noise(made, 4)
        with made.connect() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(ODD)))
            connection.execute("CREATE DATABASE empty")
            connection.execute("CREATE DATABASE closed ALLOW_CONNECTIONS false")
            place = made.server.data_dir.parent / "tablespace"
            place.mkdir(mode=0o700)
            hand_over(place, server_account("nobody"))
            connection.execute(sql.SQL("CREATE TABLESPACE fast LOCATION {}").format(sql.Literal(str(place))))
            fill_with_odd_things(connection)
        with made.connect(ODD) as connection:
            connection.execute('CREATE SCHEMA "Schéma; --"')
            connection.execute('CREATE TABLE "Schéma; --"."ta""ble" ("cól" text DEFAULT \'it\'\'s\')')
            connection.execute('INSERT INTO "Schéma; --"."ta""ble" SELECT n::text FROM generate_series(1, 77) n')
        yield made


def fill_with_odd_things(connection: "psycopg.Connection[tuple[object, ...]]") -> None:
    for statement in (
        "CREATE TABLE nothing ()",
        "CREATE TABLE no_columns ()",
        "INSERT INTO no_columns SELECT FROM generate_series(1, 5)",
        "CREATE TABLE none_left AS SELECT n FROM generate_series(1, 100) n",
        "DELETE FROM none_left",
        "CREATE UNLOGGED TABLE forgotten AS SELECT n FROM generate_series(1, 100) n",
        "CREATE TABLE elsewhere TABLESPACE fast AS SELECT n, md5(n::text) FROM generate_series(1, 5000) n",
        "CREATE INDEX elsewhere_n ON elsewhere (n) TABLESPACE fast",
        "CREATE TABLE big (content text)",
        "ALTER TABLE big ALTER content SET STORAGE EXTERNAL",
        f"INSERT INTO big SELECT string_agg(md5(n::text), '') FROM generate_series(1, {BIG // 32}) n",
        "CREATE TABLE parts (n int, kind text) PARTITION BY LIST (kind)",
        "CREATE TABLE part_a PARTITION OF parts FOR VALUES IN ('a')",
        "CREATE TABLE part_b PARTITION OF parts FOR VALUES IN ('b')",
        "INSERT INTO parts SELECT n, chr(97 + n % 2) FROM generate_series(1, 11) n",
        "CREATE TABLE parent (n int)",
        "CREATE TABLE child () INHERITS (parent)",
        "INSERT INTO child VALUES (1), (2)",
        "CREATE MATERIALIZED VIEW seen AS SELECT count(*) AS n FROM elsewhere",
        "CREATE MATERIALIZED VIEW unseen AS SELECT count(*) AS n FROM elsewhere WITH NO DATA",
        "CREATE VIEW looking AS SELECT * FROM elsewhere",
        "CHECKPOINT",
    ):
        connection.execute(statement.encode())
    for number in range(1, TABLES + 1):
        connection.execute(f"CREATE TABLE small_{number} AS SELECT {number} AS n".encode())


def rungs(settings: Settings, repository: Repository, backup: Backup) -> dict[Rung, Climb]:
    return {rung: climb(rung, settings, repository, backup) for rung in (Rung.STORED, Rung.CHECKSUMMED, Rung.BOOTED)}


def test_everything_comes_back_and_is_proved(server: ScratchServer, settings: Settings) -> None:
    own = server.settings(settings)
    backup = take_backup(own)
    repository = open_repository(own, server.system)
    assert (backup.codec, backup.compressed_by) == ("zstd", "server")
    (space,) = backup.tablespaces
    expected = repository.rows(backup)
    assert expected is not None
    assert expected.exact
    assert expected.uncounted in {(), ("postgres: public.unseen",)}
    counted = {(table.database, table.table): table.rows for table in expected.tables}
    assert counted["postgres", "public.none_left"] == 0
    assert counted["postgres", "public.no_columns"] == 5
    assert counted["postgres", "public.parent"] == 0  # its child's rows are its child's
    assert counted["postgres", "public.child"] == 2
    assert counted["postgres", f"public.small_{TABLES}"] == 1
    assert counted[ODD, '"Schéma; --"."ta""ble"'] == 77
    assert ("postgres", "public.forgotten") not in counted

    shown = rungs(own, repository, backup)
    assert [climbed.passed for climbed in shown.values()] == [True] * 3, shown
    assert "are as expected (exactly)" in shown[Rung.BOOTED].finding
    assert named(backup, f"{space.oid}.tar.zst") in {stored.name for stored in backup.objects}


@pytest.mark.parametrize("mapped", [False, True], ids=["beside", "mapped"])
def test_a_tablespace_goes_where_it_is_told(server: ScratchServer, settings: Settings, mapped: bool) -> None:
    own = server.settings(settings, backup_count_rows=False)
    backup = take_backup(own)
    (space,) = backup.tablespaces
    with reachable_folder() as folder:
        target, place = folder / "data", folder / "données"
        more = ["--tablespace", f"{space.oid}={place}"] if mapped else []
        done = ops_here(own, folder, "restore", "--backup", backup.id, "--target-dir", target, *more, "--keep-running")
        try:
            assert done.code == 0, done
            there = place if mapped else folder / "data.tablespaces" / str(space.oid)
            assert (target / f"pg_tblspc/{space.oid}").resolve() == there
            assert any(there.iterdir())
            where = {"host": str(folder / "data.run"), "user": "postgres", "dbname": "postgres"}
            with server.connect() as source, psycopg.connect(**where) as restored:
                assert restored.execute("SELECT count(*), sum(n) FROM elsewhere").fetchone() == (5000, 12502500)
                assert restored.execute("SELECT length(content) FROM big").fetchone() == (BIG // 32 * 32,)
                digest = "SELECT md5(content) FROM big"
                assert restored.execute(digest).fetchone() == source.execute(digest).fetchone()
        finally:
            DataDirectory(target).stop("immediate")


@pytest.fixture(scope="module")
def small() -> Iterator[ScratchServer]:
    with scratch_server() as made:
        fill_with_noise(made, 12)
        with made.connect() as connection:
            connection.execute("CREATE TABLE log (id bigint GENERATED ALWAYS AS IDENTITY, word text)")
            connection.execute("INSERT INTO log (word) SELECT md5(n::text) FROM generate_series(1, 20000) n")
        yield made


@pytest.mark.parametrize(
    ("codec", "level", "workers", "found"),
    [
        ("zstd", 3, 0, ("zstd", "server", "base.tar.zst")),
        ("lz4", 3, 2, ("lz4", "server", "base.tar.lz4")),
        ("client-zstd", 1, 0, ("zstd", "client", "base.tar.zst")),
        ("client-zstd", 3, 2, ("zstd", "client", "base.tar.zst")),
    ],
)
def test_each_codec(  # noqa: PLR0917
    small: ScratchServer, settings: Settings, codec: str, level: int, workers: int, found: tuple[str, str, str]
) -> None:
    own = small.settings(settings, backup_codec=codec, backup_zstd_level=level, backup_zstd_workers=workers)
    backup = take_backup(own)
    assert (backup.codec, backup.compressed_by, named(backup, "base.tar").removesuffix(".age")) == found
    shown = rungs(own, open_repository(own, small.system), backup)
    assert all(climbed.passed for climbed in shown.values()), shown


def test_a_restored_server_reaches_nothing_outside(small: ScratchServer, settings: Settings, tmp_path: Path) -> None:
    """What the source's configuration says, by file or by ALTER SYSTEM, is not followed."""
    own = small.settings(settings, backup_count_rows=False)
    hostile = {
        "archive_command": f"touch {tmp_path}/archived",
        "restore_command": f"touch {tmp_path}/asked",
        "recovery_end_command": f"touch {tmp_path}/ended",
        "listen_addresses": "*",
        "synchronous_standby_names": "nobody",
        "shared_preload_libraries": "not_there",
        "recovery_target_name": "never",
        "primary_conninfo": "host=127.0.0.1 port=1",
    }
    tmp_path.chmod(0o777)
    with small.connect() as connection:
        try:
            for name, value in hostile.items():
                connection.execute(sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), sql.Literal(value)))
            backup = take_backup(own)
        finally:
            connection.execute("ALTER SYSTEM RESET ALL")
    with reachable_folder() as folder:
        repository = open_repository(own, small.system)
        restored = run.restore(own, repository, run.plan(backup, folder / "data"))
        with run.running(own, restored) as server, psycopg.connect(server.dsn()) as connection:
            query = "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)"
            found = dict(connection.execute(query, [list(hostile)]).fetchall())
            assert {name for name, value in hostile.items() if found[name] == value} == set()
            listening = {
                address.status
                for process in DataDirectory(folder / "data").running_processes()
                for address in process.net_connections("inet")
            }
            assert "LISTEN" not in listening
    assert list(tmp_path.iterdir()) == []
