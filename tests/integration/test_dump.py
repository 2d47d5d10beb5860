"""Logical dumps of real servers: what they hold comes back byte by byte, and a bad one never looks whole."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from ops_workflows.backup.dump import take_dump
from ops_workflows.errors import ConfigurationError, DatabaseError, RefusedError, StorageError
from ops_workflows.postgres.connection import connect
from ops_workflows.postgres.fingerprint import Content, content, difference, settle, tables
from ops_workflows.postgres.logical import for_programs
from ops_workflows.proof.restorable import restorable
from ops_workflows.repository.catalogue import open_repository
from ops_workflows.repository.dump import Dump
from ops_workflows.repository.dumps import Dumps
from ops_workflows.repository.proofs import proofs
from ops_workflows.settings import Settings
from ops_workflows.storage.encryption import new_identity, public_keys
from tests.support.bucket import change, flipped, keys, pending
from tests.support.command import ops_here
from tests.support.heard import Heard
from tests.support.killing import ended_at
from tests.support.proxy import Requests, proxy_to
from tests.support.servers import ScratchServer, scratch_server

ODD = Path(__file__).with_name("test_dump_odd.sql").read_bytes()
OLD_PROGRAMS = Path("/usr/lib/postgresql/15/bin")


@pytest.fixture(scope="module")
def server() -> Iterator[ScratchServer]:
    with scratch_server() as made:
        with made.connect() as connection:
            connection.execute("CREATE DATABASE odd")
            connection.execute(
                "CREATE DATABASE latin TEMPLATE template0 ENCODING LATIN1 LOCALE_PROVIDER libc LOCALE 'C'"
            )
            connection.execute("CREATE ROLE reader LOGIN")
            connection.execute("GRANT pg_read_all_data TO reader")
            connection.execute("ALTER DATABASE odd SET DateStyle = 'German, DMY'")
            connection.execute("ALTER ROLE ops_backup SET extra_float_digits = -3")
        with made.connect("odd") as connection:
            connection.execute(ODD)
            connection.execute("GRANT CREATE ON SCHEMA public TO ops_owner")
            connection.execute('GRANT CREATE, USAGE ON SCHEMA "Odd schema.""x""" TO ops_owner')
            # Before PostgreSQL 19, nobody but a superuser can be given the right to read all large objects.
            for (oid,) in connection.execute("SELECT oid FROM pg_largeobject_metadata").fetchall():
                connection.execute(f"GRANT SELECT ON LARGE OBJECT {oid} TO ops_backup".encode())
        with made.connect("latin") as connection:
            connection.execute("CREATE TABLE t AS SELECT 'Ärger' AS word")
        yield made


@pytest.fixture(scope="module")
def own(server: ScratchServer, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    file = tmp_path_factory.mktemp("keys") / "identity"
    file.write_text(new_identity())
    return server.settings(settings, age_recipients=",".join(public_keys(file)), age_identity_file=file)


@pytest.fixture(scope="module")
def dump(own: Settings) -> Dump:
    return take_dump(own)


@pytest.fixture(scope="module")
def dumps(own: Settings, dump: Dump) -> Dumps:
    return Dumps(open_repository(own, dump.system))


def dump_keys(settings: Settings) -> list[str]:
    return [key for key in keys(settings) if "/dumps/" in key]


def test_every_database_is_dumped_and_listed(own: Settings, dump: Dump, dumps: Dumps, tmp_path: Path) -> None:
    assert [database.name for database in dump.databases] == ["latin", "odd", "postgres"]
    names = ["fingerprint.json", "globals.sql", "latin.dump", "odd.dump", "postgres.dump", "settings.json"]
    assert sorted(stored.name for stored in dump.objects) == [f"{name}.age" for name in names]
    assert dumps.all() == [dump]
    listed = json.loads(ops_here(own, tmp_path, "dumps", "--json").out)
    assert [entry["id"] for entry in listed] == [dump.id]
    assert dump.id in ops_here(own, tmp_path, "dumps").out


def test_roles_and_settings_lie_beside_it_without_passwords(dump: Dump, dumps: Dumps) -> None:
    def plain(name: str) -> str:
        key = dumps.key(dump.id, f"{name}.age")
        return dumps.repository.keys.open(dumps.repository.store.get(key), key).decode()

    roles = plain("globals.sql")
    assert "CREATE ROLE ops_owner" in roles
    assert "PASSWORD" not in roles
    described = json.loads(plain("settings.json"))
    assert {"database": "odd", "role": None, "settings": ["DateStyle=German, DMY"]} in described[
        "database_role_settings"
    ]
    assert "log_timezone" in {parameter["name"] for parameter in described["parameters"]}


def test_every_table_has_its_exact_count(dump: Dump, dumps: Dumps) -> None:
    held = {table.table.quoted: table.content for table in dumps.fingerprint(dump).databases["odd"]}
    assert held["public.odd"].rows == 2003
    assert held["public.empty"] == Content(0, "0")
    assert held["public.columnless"].rows == 3
    assert held["public.parent"].rows == held["public.child"].rows == 1
    assert "public.events" not in held  # its partitions have the rows
    assert sum(held[f"public.events_{part}"].rows for part in ("1", "2", "3_a")) == 2001
    assert all(content.hash for content in held.values())
    assert len(held) == 12


def test_what_is_loaded_from_it_holds_the_same(own: Settings, dump: Dump, dumps: Dumps) -> None:
    """Every odd type, encoding and name; with other session settings at the source."""
    shown = restorable(own, dumps, dump)
    assert shown.passed, shown.finding
    assert [proof.what for proof in proofs(dumps.repository, dump.id)] == ["restorable"]


@pytest.mark.parametrize(
    "change_of_one",
    [
        "UPDATE odd SET content = '\\x00ff5c28' WHERE id = 1",
        "UPDATE odd SET at = at + interval '1 microsecond' WHERE id = 1",
        "UPDATE odd SET floating = 0.10000000000000002 WHERE id = 1",
        "UPDATE odd SET sorted = NULL WHERE id = 2",
        "UPDATE odd SET words = '{NULL, NULL}' WHERE id = 3",
        "DELETE FROM odd WHERE id = 1000",
        "INSERT INTO odd DEFAULT VALUES",
        "UPDATE odd SET id = -id WHERE id = 3",
    ],
)
def test_one_row_or_one_byte_less_is_a_difference(server: ScratchServer, change_of_one: str) -> None:
    with server.connect("odd") as connection:
        settle(connection)
        table = next(each for each in tables(connection) if each.quoted == "public.odd")
        before = content(connection, table.quoted, table.columns)
        assert difference(connection, table.quoted, table.columns, before) is None
        with connection.transaction(force_rollback=True):
            connection.execute("SET LOCAL search_path = public")
            connection.execute(change_of_one.encode())
            connection.execute("SET LOCAL search_path = ''")
            assert difference(connection, table.quoted, table.columns, before) is not None
        assert difference(connection, table.quoted, table.columns, before) is None


def test_a_row_that_is_there_twice_counts_twice(server: ScratchServer) -> None:
    with server.connect("odd") as connection, connection.transaction(force_rollback=True):
        settle(connection)
        before = content(connection, "public.twins", ("a", "b"))
        connection.execute("UPDATE public.twins SET a = 2, b = 1 WHERE a = 1")
        assert content(connection, "public.twins", ("a", "b")).rows == before.rows
        assert difference(connection, "public.twins", ("a", "b"), before) is not None


def test_of_a_large_table_a_sample_is_hashed_that_must_be_found_again(server: ScratchServer) -> None:
    with server.connect("odd") as connection, connection.transaction(force_rollback=True):
        settle(connection)
        columns = ("floating", "id", "sorted")
        held = content(connection, "public.odd", columns, most_bytes=0)
        assert (held.rows, held.hash, len(held.sample)) == (2003, None, 1000)
        # Elsewhere the rows lie in other blocks.
        connection.execute("CREATE TABLE public.elsewhere AS SELECT * FROM public.odd ORDER BY floating, id DESC")
        assert difference(connection, "public.elsewhere", columns, held) is None
        connection.execute("UPDATE public.elsewhere SET id = id + 1000000 WHERE id % 10 = 0")
        assert "that were hashed" in (difference(connection, "public.elsewhere", columns, held) or "")
        connection.execute("DELETE FROM public.elsewhere WHERE id = 1")
        assert "2,002 rows" in (difference(connection, "public.elsewhere", columns, held) or "")


def test_the_dump_is_of_the_snapshot_that_was_fingerprinted(server: ScratchServer, own: Settings) -> None:
    """Rows that come between the fingerprint and pg_dump are in neither."""
    settings = server.settings(own)

    class Meddling(Heard):
        def begin(self, phase: str, total: int | None, unit: str = "") -> None:
            if phase == "dump postgres":
                with server.connect() as connection:
                    connection.execute("INSERT INTO ticks SELECT generate_series(1, 1000)")
            super().begin(phase, total, unit)

    with server.connect() as connection:
        connection.execute("CREATE TABLE ticks AS SELECT 1 AS n")
    taken = take_dump(settings, ["postgres"], Meddling())
    assert taken.rows == 1
    assert taken.left_out == ("latin", "odd")
    shown = restorable(settings, Dumps(open_repository(settings, taken.system)), taken)
    assert shown.passed, shown.finding


def test_a_dump_needs_no_more_than_the_right_to_read(server: ScratchServer, settings: Settings) -> None:
    with server.connect() as connection:
        connection.execute("ALTER ROLE reader PASSWORD 'se:cr\\et'")
    password = SecretStr(f"postgresql://reader:se%3Acr%5Cet@127.0.0.1:{server.server.port}/postgres")
    taken = take_dump(server.settings(settings, backup_dsn=password), ["latin"])
    assert taken.rows == 1


def test_a_password_in_the_dsn_is_in_no_argument(server: ScratchServer) -> None:
    secret = server.password("ops_backup")
    dsn = f"postgresql://ops_backup:{secret}@127.0.0.1:1,127.0.0.1:{server.server.port}/postgres"
    with connect(dsn) as connection, for_programs(dsn, connection) as text:
        assert secret not in text
        parts = psycopg.conninfo.conninfo_to_dict(text)
        assert (parts["host"], str(parts["port"])) == ("127.0.0.1", str(server.server.port))  # of both, the one reached
        passfile = Path(str(parts["passfile"]))
        assert stat.S_IMODE(passfile.stat().st_mode) == 0o600
        with connect(text, connect_timeout=5):
            pass
    assert not passfile.exists()


@pytest.mark.skipif(not OLD_PROGRAMS.is_dir(), reason="PostgreSQL 15 is not installed")
def test_an_older_pg_dump_is_refused_before_anything_is_begun(own: Settings, server: ScratchServer) -> None:
    settings = server.settings(own, pg_bin_dir=OLD_PROGRAMS)
    with pytest.raises(RefusedError, match=r"PostgreSQL 15 and cannot dump PostgreSQL 18"):
        take_dump(settings)
    assert not keys(settings)


def test_rows_that_the_role_may_not_see_are_refused(own: Settings, server: ScratchServer) -> None:
    settings = server.settings(own)
    with server.connect() as connection:
        connection.execute("CREATE TABLE secret (a int); ALTER TABLE secret ENABLE ROW LEVEL SECURITY")
        try:
            with pytest.raises(RefusedError, match=r"Row security .*public\.secret.* BYPASSRLS"):
                take_dump(settings, ["postgres"])
            connection.execute("DROP TABLE secret; CREATE TABLE secret (a int)")
            connection.execute("REVOKE pg_read_all_data FROM reader")
            reader = server.settings(settings, backup_dsn=SecretStr(server.dsn("reader", password="se:cr\\et")))
            with pytest.raises(RefusedError, match=r"may not read all .* GRANT pg_read_all_data TO reader"):
                take_dump(reader, ["postgres"])
        finally:
            connection.execute("DROP TABLE secret; GRANT pg_read_all_data TO reader")
    assert not keys(settings)
    assert not pending(settings)


def test_a_pg_dump_that_fails_leaves_no_dump(own: Settings, server: ScratchServer) -> None:
    """In the middle of its stream: its session is ended by the server."""
    settings = server.settings(own)

    class Ending(Heard):
        def advance(self, done: int) -> None:  # noqa: ARG002 - a progress is told
            if self.phases[-1].startswith("dump "):
                with server.connect() as connection:
                    query = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE query LIKE 'COPY %'"
                    connection.execute(query)

    with server.connect("odd") as connection:
        connection.execute("CREATE TABLE noise AS SELECT gen_random_uuid(), n FROM generate_series(1, 200000) AS n")
    try:
        with pytest.raises(DatabaseError, match=r"pg_dump failed \(exit code 1\)"):
            take_dump(settings, ["odd"], Ending())
    finally:
        with server.connect("odd") as connection:
            connection.execute("DROP TABLE noise")
    assert not keys(settings)
    assert not pending(settings)


def test_a_bucket_that_goes_away_leaves_no_dump(own: Settings, server: ScratchServer) -> None:
    settings = server.settings(own)
    with proxy_to(own.require("s3_endpoint_url")) as proxy:
        requests = Requests(lambda call: "partNumber" in call, proxy.cut)
        proxy.before = requests.before
        url = f"http://127.0.0.1:{proxy.port}"
        with pytest.raises(StorageError):
            take_dump(settings.model_copy(update={"s3_endpoint_url": url, "s3_attempts": 1}), ["latin"])
    assert not Dumps(open_repository(settings, server.system)).all()


@pytest.mark.parametrize("call", ["POST", "partNumber", "fingerprint.json", "dump.json"])
def test_killed_at_any_moment_it_does_not_exist_and_the_next_one_clears_up(
    own: Settings, server: ScratchServer, tmp_path: Path, call: str
) -> None:
    settings = server.settings(own)
    assert ended_at(settings, tmp_path, lambda asked: call in asked, "ops", "dump", "--database", "latin").acted
    left = dump_keys(settings)
    assert left
    assert not Dumps(open_repository(settings, server.system)).all()
    heard = Heard()
    taken = take_dump(settings, ["latin"], heard)
    assert {f"Removed {key}: its dump was never finished." for key in left} <= set(heard.sentences)
    assert {key.split("/")[-2] for key in dump_keys(settings)} == {taken.id}
    assert not pending(settings)


def test_an_altered_dump_is_found_out(own: Settings, server: ScratchServer) -> None:
    settings = server.settings(own)
    taken = take_dump(settings, ["latin"])
    dumps = Dumps(open_repository(settings, taken.system))
    change(dumps.repository, dumps.key(taken.id, taken.databases[0].object), flipped)
    shown = restorable(settings, dumps, taken)
    assert not shown.passed
    assert "altered" in shown.finding


def test_a_dump_that_cannot_be_read_is_refused_before_any_work(own: Settings, dump: Dump, tmp_path: Path) -> None:
    (tmp_path / "other").write_text(new_identity())
    for file, said in ((tmp_path / "other", "encrypted to other keys"), (None, "OPS_AGE_IDENTITY_FILE is not set")):
        settings = own.model_copy(update={"age_identity_file": file})
        blind = Dumps(open_repository(settings, dump.system))
        assert blind.all()  # listing needs no key
        with pytest.raises(ConfigurationError, match=said):
            restorable(settings, blind, dump)
    assert not [left for left in own.scratch.glob("*") if left.is_dir()]


def test_two_dumps_at_once_are_refused(own: Settings, server: ScratchServer, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = server.settings(own)
    monkeypatch.setattr("ops_workflows.backup.dump_lock._PATIENCE_SECONDS", 0.3)
    with connect(settings.require("backup_dsn")) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [0x6F70735F64756D70])
        with pytest.raises(RefusedError, match="Another dump"):
            take_dump(settings, ["latin"])
    with pytest.raises(RefusedError, match="no database nowhere"):
        take_dump(settings, ["nowhere"])
