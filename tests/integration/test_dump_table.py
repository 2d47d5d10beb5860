"""One table brought back out of a dump: beside the living one, proved, and never over anything."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from ops_workflows.backup.dump import take_dump
from ops_workflows.errors import IntegrityError, RefusedError
from ops_workflows.postgres.connection import connect
from ops_workflows.postgres.server import Server
from ops_workflows.repository.backup import utc_now
from ops_workflows.repository.catalogue import open_repository
from ops_workflows.repository.dump import Dump
from ops_workflows.repository.dumps import FINGERPRINT, RECORD, Dumps
from ops_workflows.repository.leases import leased
from ops_workflows.repository.records import seal
from ops_workflows.restore.load import loaded
from ops_workflows.restore.table import restore_table
from ops_workflows.restore.table_copy import copy_table
from ops_workflows.settings import Settings
from tests.support.bucket import change
from tests.support.command import ops_here
from tests.support.killing import ended_at
from tests.support.proxy import nth
from tests.support.servers import ScratchServer, scratch_server

ODD = Path(__file__).with_name("test_dump_odd.sql").read_bytes()


@pytest.fixture(scope="module")
def server() -> Iterator[ScratchServer]:
    with scratch_server() as made:
        with made.connect() as connection:
            connection.execute("CREATE DATABASE odd")
        with made.connect("odd") as connection:
            connection.execute(ODD)
            connection.execute("SELECT lo_unlink(oid) FROM pg_largeobject_metadata")
            connection.execute("GRANT CREATE ON SCHEMA public TO ops_owner")
            connection.execute('GRANT CREATE, USAGE ON SCHEMA "Odd schema.""x""" TO ops_owner')
        yield made


@pytest.fixture(scope="module")
def own(server: ScratchServer, settings: Settings) -> Settings:
    owner = SecretStr(server.dsn("ops_owner", "odd"))
    return server.settings(settings, owner_dsn=owner, age_recipients="", age_identity_file=None)


@pytest.fixture(scope="module")
def dump(own: Settings) -> Dump:
    return take_dump(own, ["odd"])


@pytest.fixture(scope="module")
def dumps(own: Settings, dump: Dump) -> Dumps:
    return Dumps(open_repository(own, dump.system))


def test_a_table_that_was_emptied_comes_back_beside_it(
    own: Settings, server: ScratchServer, dump: Dump, dumps: Dumps, tmp_path: Path
) -> None:
    with server.connect("odd") as connection:
        connection.execute("CREATE TABLE kept AS SELECT * FROM odd")
        connection.execute("DELETE FROM odd WHERE id > 1")
    done = ops_here(own, tmp_path, "restore-table", "public.odd", "--json")
    assert done.code == 0, done
    said = json.loads(done.out)
    assert said["table"] == f'"public"."odd_restored_{dump.started_at:%Y%m%d_%H%M%S}"'
    assert (said["rows"], said["dump_id"], said["left_out"]) == (2003, dump.id, [])
    with server.connect("odd") as connection:
        table = said["table"]
        assert connection.execute("SELECT count(*) FROM odd").fetchone() == (1,)
        for one, other in ((table, "kept"), ("kept", table)):
            differing = (
                f"SELECT count(*) FROM (SELECT t::text FROM {one} t EXCEPT ALL SELECT t::text FROM {other} t) AS d"
            )
            assert connection.execute(differing.encode()).fetchone() == (0,)
        query = (
            "SELECT string_agg(contype::text, '' ORDER BY contype) FROM pg_constraint "
            "WHERE contype <> 'n' AND conrelid = %s::regclass"
        )
        constraints = connection.execute(query, [table]).fetchone()
        assert constraints == ("cpu",)
    again = ops_here(own, tmp_path, "restore-table", "public.odd")
    assert again.code == 1
    assert "is there already and nothing is ever overwritten" in again.sentence
    assert not [left for left in own.scratch.iterdir() if left.is_dir()]


@pytest.fixture(scope="module")
def elsewhere(own: Settings, dumps: Dumps, dump: Dump) -> Iterator[Server]:
    """The whole database, loaded into another server."""
    with loaded(own, dumps, dump, "odd") as server:
        assert dump.id in leased(dumps.repository, utc_now())
        yield server


@pytest.mark.parametrize(
    ("wanted", "rows", "columns"),
    [
        ("public.events", 2001, ["at", "kind", "n"]),
        ("public.events_3", 585, ["at", "kind", "n"]),
        ('Odd schema."x".a b.%s{0}', 2, ["col umn %", "t", 'Q"q']),
        ("public.parent", 1, ["a", "c"]),
        ("public.referring", 1, ["id", "odd"]),
        ("public.columnless", 3, []),
        ("public.empty", 0, ["id", "note"]),
    ],
)
def test_any_table_is_carried_over_from_any_server(
    elsewhere: Server, server: ScratchServer, dump: Dump, dumps: Dumps, *, wanted: str, rows: int, columns: list[str]
) -> None:
    """Partitioned at any level, oddly named, inherited, referring to another, without a column, empty."""
    table = dumps.fingerprint(dump).find("odd", wanted)
    hashed = (table.columns, table.content)
    with (
        connect(elsewhere.dsn("odd")) as source,
        connect(server.dsn("ops_owner", "odd")) as living,
        server.connect("odd") as connection,
    ):
        copied = copy_table(source, table.quoted, living, ("public", f"copy of {wanted}"[:63]), hashed=hashed)
        assert (copied.rows, copied.left_out) == (rows, ())
        cursor = connection.execute(f"SELECT * FROM {copied.table}".encode())
        assert cursor.rowcount == rows
        assert [column.name for column in cursor.description or ()] == columns


@pytest.mark.parametrize("wanted", ["public.events_3", 'Odd schema."x".a b.%s{0}'])
def test_of_a_dump_only_what_belongs_to_the_table_is_loaded(own: Settings, dumps: Dumps, wanted: str) -> None:
    done = restore_table(own, dumps, wanted)
    assert done.copied.rows > 0
    assert done.copied.left_out == ()


def test_killed_in_the_middle_it_leaves_nothing_in_the_living_database(
    own: Settings, server: ScratchServer, dumps: Dumps, tmp_path: Path
) -> None:
    reads, before = nth(2), set(own.scratch.iterdir())
    # Its third reading is that of the rows: by then the scratch server runs.
    at = lambda asked: asked.startswith("GET") and "odd.dump" in asked and reads(asked)  # noqa: E731
    command = ("ops", "restore-table", "public.twins", "--as", "public.twins_back")
    assert ended_at(own, tmp_path, at, *command).acted
    left = set(own.scratch.iterdir()) - before
    assert left
    done = ops_here(own, tmp_path, *command[1:])
    assert done.code == 0, done
    assert "left by a restore that was killed" in done.err
    assert set(own.scratch.iterdir()) == before


def test_a_table_that_was_dropped_with_all_that_belongs_to_it_comes_back_elsewhere(
    own: Settings, server: ScratchServer, dumps: Dumps
) -> None:
    with server.connect("odd") as connection:
        connection.execute("DROP TABLE empty; CREATE SCHEMA rescue AUTHORIZATION ops_owner")
    done = restore_table(own, dumps, "public.empty", target="rescue.Empty")
    assert done.copied.table == '"rescue"."empty"'


def test_out_of_another_repository(own: Settings, server: ScratchServer, dump: Dump, tmp_path: Path) -> None:
    url = (tmp_path / "second").as_uri()
    (tmp_path / "second").mkdir()
    other = take_dump(own.at(url), ["odd"])
    listed = ops_here(own, tmp_path, "dumps", "--json", "--repository", url)
    assert [each["id"] for each in json.loads(listed.out)] == [other.id]
    command = ("restore-table", "public.twins", "--from", other.id, "--as", "public.twins_second")
    here = ops_here(own, tmp_path, *command)
    assert (here.code, f"no dump {other.id}" in here.sentence) == (1, True)
    there = ops_here(own, tmp_path, *command, "--repository", url)
    assert there.code == 0, there
    with server.connect("odd") as connection:
        assert connection.execute("SELECT to_regclass('public.twins_second') IS NOT NULL").fetchone() == (True,)


def test_what_the_living_database_cannot_have_is_refused(own: Settings, server: ScratchServer, dumps: Dumps) -> None:
    with pytest.raises(RefusedError, match=r"has no schema nowhere"):
        restore_table(own, dumps, "public.twins", target="nowhere.twins")
    with pytest.raises(RefusedError, match=r"write schema\.table"):
        restore_table(own, dumps, "public.twins", target="twins")
    with pytest.raises(RefusedError, match=r"no table public\.nothing"):
        restore_table(own, dumps, "public.nothing")
    with pytest.raises(RefusedError, match="no dump of database postgres"):
        restore_table(own, dumps, "public.twins", database="postgres")


def before_digest(record: bytes) -> bytes:
    """The document that a record was sealed from."""
    return record[: record.rindex(b',\n  "digest"')] + b"\n}"


def test_rows_that_are_not_what_they_were_are_not_kept(
    own: Settings, server: ScratchServer, dump: Dump, dumps: Dumps
) -> None:
    """The dump's record is the judge; here it is the record that was changed."""
    expected = dumps.fingerprint(dump).find("odd", "public.twins").content.hash
    key, record = (dumps.key(dump.id, name) for name in (FINGERPRINT, RECORD))
    change(dumps.repository, key, lambda body: body.replace(f'"{expected}"'.encode(), b'"1"'))
    with pytest.raises(IntegrityError, match=r"fingerprint\.json .* is altered"):
        restore_table(own, dumps, "public.twins", target="public.twins_altered")
    digest = hashlib.sha256(dumps.repository.store.get(key)).hexdigest()
    known = dump.object(FINGERPRINT).sha256
    change(dumps.repository, record, lambda body: seal(before_digest(body).replace(known.encode(), digest.encode())))
    with pytest.raises(IntegrityError, match="content differs: it is not what was there, and nothing of it was kept"):
        restore_table(own, dumps, "public.twins", target="public.twins_altered")
    with connect(server.dsn("ops_owner", "odd")) as connection:
        assert connection.execute("SELECT to_regclass('public.twins_altered')").fetchone() == (None,)
