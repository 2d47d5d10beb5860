import re
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from ops_workflows.errors import ConfigurationError, DatabaseError, OpsError, RefusedError
from ops_workflows.local.stack import Stack
from ops_workflows.postgres.connection import connect
from ops_workflows.schema.apply import OWN_DIRECTORY, Applied, Hearers, migrate_down, migrate_up, status
from ops_workflows.schema.files import read_migrations
from ops_workflows.schema.plan import NOTHING, Direction, Position
from ops_workflows.schema.session import Patience, lock_ids
from ops_workflows.settings import Settings
from tests.support.proxy import Proxy
from tests.support.schema import MIGRATIONS, Database, killed_while, own_database, rows, write

CATALOGUE = (Path(__file__).parent / "test_schema_catalogue.sql").read_text()
OWN_VERSIONS = [("ops", migration.version) for migration in read_migrations(OWN_DIRECTORY)]
VERSIONS = [("public", migration.version) for migration in read_migrations(MIGRATIONS)]
NEWEST = VERSIONS[-1][1]
HASTY = Patience(other_migration=0.5, table_lock=0.5, locks=0.5)
KEY_DATA = re.compile(rb"K\x00\x00\x00\x0c.{8}", re.DOTALL)  # which process serves the client, and its secret


class Pooler(Proxy):
    """Greets clients with a process number of its own, as PgBouncer does."""

    def _relay(self, source: socket.socket, sink: socket.socket, from_client: bool) -> None:
        with suppress(OSError):
            while chunk := source.recv(65536):
                sink.sendall(chunk if from_client else KEY_DATA.sub(b"K\x00\x00\x00\x0c" + bytes(8), chunk, 1))
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    with own_database(settings) as made:
        yield made


@pytest.fixture
def stack_standby(stack: Stack, settings: Settings) -> str:
    address = next(service.address for service in stack.services if service.name == "standby")
    return make_conninfo(settings.require("owner_dsn"), port=address.rpartition(":")[2])


def test_all_up_all_down_and_up_again_is_the_same_schema(database: Database) -> None:
    applied = migrate_up(database.owner, MIGRATIONS)
    assert [(step.ledger, step.version) for step in applied] == [*OWN_VERSIONS, *VERSIONS]
    first = rows(database.owner, CATALOGUE)
    assert len(first) > 200
    assert status(database.owner, MIGRATIONS).current
    assert rows(database.owner, "table public.schema_migrations") == [(NEWEST, False)]

    undone = migrate_down(database.owner, MIGRATIONS, steps=len(VERSIONS))
    assert [(step.direction, step.version) for step in undone] == [
        (Direction.DOWN, version) for _, version in reversed(VERSIONS)
    ]
    left = {(row[0], row[2]) for row in rows(database.owner, CATALOGUE) if row[1] == "public"}
    assert {name for kind, name in left if kind == "relation"} == {"schema_migrations", "schema_migrations_pkey"}
    assert not {kind for kind, _ in left} & {"function", "enum", "trigger"}
    assert rows(database.owner, "table public.schema_migrations") == []

    migrate_up(database.owner, MIGRATIONS)
    assert rows(database.owner, CATALOGUE) == first


def test_up_when_nothing_is_pending_does_nothing(database: Database) -> None:
    migrate_up(database.owner, MIGRATIONS)
    assert migrate_up(database.owner, MIGRATIONS) == []


def test_status_of_an_untouched_database_touches_nothing(database: Database) -> None:
    before = rows(database.owner, CATALOGUE)
    found = status(database.owner, MIGRATIONS)
    assert found.application.position == Position(NOTHING)
    assert [migration.version for migration in found.application.pending] == [version for _, version in VERSIONS]
    assert [("ops", migration.version) for migration in found.own.pending] == OWN_VERSIONS
    assert not found.current
    assert rows(database.owner, CATALOGUE) == before


def test_a_limit_is_of_the_applications_migrations(database: Database) -> None:
    reported: list[Applied] = []
    applied = migrate_up(database.owner, MIGRATIONS, limit=1, hearers=Hearers(reported.append))
    assert applied == reported
    assert [(step.ledger, step.version) for step in applied] == [*OWN_VERSIONS, ("public", 1)]


def test_the_seeds_down_keeps_what_users_added_or_had_before(database: Database) -> None:
    migrate_up(database.owner, MIGRATIONS, limit=1)
    with connect(database.owner) as connection:
        place = "insert into locations (name, latitude, longitude, timezone, country) values (%s, 1, 2, 'UTC', %s)"
        connection.execute(place, ("Ujjain", "India"))  # by the name of a seeded one
        migrate_up(database.owner, MIGRATIONS, limit=1)
        connection.execute(place, ("Home", "Nowhere"))
        connection.execute("insert into users (username, email) values ('u', 'u@example.com')")
        assert connection.execute("select count(*) from locations").fetchone() == (49,)
        migrate_down(database.owner, MIGRATIONS, steps=1)
        assert connection.execute("select name from locations order by 1").fetchall() == [("Home",), ("Ujjain",)]
        assert connection.execute("select count(*) from users").fetchone() == (1,)
        assert connection.execute("select count(*) from feature_flags").fetchone() == (0,)


def test_seeded_places_are_where_they_say(database: Database) -> None:
    migrate_up(database.owner, MIGRATIONS)
    assert rows(database.owner, "select count(*) from locations") == [(48,)]
    unknown = "select name from locations where timezone not in (select name from pg_timezone_names)"
    assert rows(database.owner, unknown) == []
    # Solar time and zone time agree within about two and a half hours anywhere on land.
    astray = """
        select name from locations
        where abs(extract(epoch from timestamptz '2026-01-15 12:00Z' at time zone timezone
                                     - timestamptz '2026-01-15 12:00Z' at time zone 'UTC') / 3600
                  - longitude / 15) > 2.5"""
    assert rows(database.owner, astray) == []


def test_no_index_repeats_another(database: Database) -> None:
    migrate_up(database.owner, MIGRATIONS)
    repeated = """
        select a.indexrelid::regclass::text from pg_index a join pg_index b
          on a.indrelid = b.indrelid and a.indexrelid <> b.indexrelid and a.indkey::text = b.indkey::text
         and a.indclass::text = b.indclass::text and a.indpred is null
        join pg_class c on c.oid = a.indrelid where relnamespace = 'public'::regnamespace"""
    assert rows(database.owner, repeated) == []


def test_the_cache_holds_a_calculation_without_variation_once_and_lets_it_expire(database: Database) -> None:
    migrate_up(database.owner, MIGRATIONS)
    with connect(database.owner) as connection:
        insert = (
            "insert into panchangam_cache (cache_key, date, latitude, longitude, timezone, data) "
            "values (%s, '2026-01-01', 1, 2, 'UTC', '{}') returning expires_at > now()"
        )
        assert connection.execute(insert, ("a",)).fetchone() == (True,)
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute(insert, ("b",))


def test_a_query_goes_to_the_partition_of_its_month_in_utc_whatever_the_session_says(database: Database) -> None:
    migrate_up(database.owner, MIGRATIONS)
    with connect(database.owner, options="-c TimeZone=Asia/Kolkata") as connection:
        create = "select create_query_log_months('2030-01-31 23:59:59Z', '2030-03-01 00:00Z')"
        assert connection.execute(create).fetchone() == (3,)
        assert connection.execute(create).fetchone() == (0,)
        where = "insert into query_log (query_type, created_at) values ('t', %s) returning tableoid::regclass::text"
        for moment, partition in (
            ("2030-01-31 23:59:59.999999Z", "query_log_2030_01"),
            ("2030-02-01 00:00:00Z", "query_log_2030_02"),
            ("2031-01-01 00:00:00Z", "query_log_default"),
        ):
            assert connection.execute(where, (moment,)).fetchone() == (partition,)


def test_updated_at_follows_updates(database: Database) -> None:
    migrate_up(database.owner, MIGRATIONS)
    with connect(database.owner) as connection:
        connection.execute("insert into users (username, email, updated_at) values ('u', 'u@x', '2000-01-01')")
        connection.execute("update users set is_active = false")
        assert connection.execute("select updated_at > now() - interval '1 minute' from users").fetchone() == (True,)


def test_upkeep_writes_heartbeats_and_cannot_change_them(database: Database) -> None:
    migrate_up(database.owner, MIGRATIONS)
    with connect(database.upkeep) as connection:
        connection.execute("insert into ops.heartbeat (sender) values ('a'), ('b')")
        newest = "select clock_timestamp() - at < interval '10 s' from ops.heartbeat order by seq desc limit 1"
        assert connection.execute(newest).fetchone() == (True,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("drop table ops.heartbeat")


def test_a_failure_names_file_line_and_cause_and_leaves_nothing(database: Database, tmp_path: Path) -> None:
    write(tmp_path, up1="create table a (x int);", up2="-- comment\n\ncreate table b (x int);\nselect nothing\nfrom b;")
    with pytest.raises(DatabaseError, match=r'000002_step\.up\.sql, line 4: column "nothing" does not exist') as raised:
        migrate_up(database.owner, tmp_path)
    assert "\n    select nothing\n           ^" in str(raised.value)
    assert status(database.owner, tmp_path).application.position == Position(1)
    assert rows(database.owner, "select to_regclass('a')::text, to_regclass('b')::text") == [("a", None)]
    failed = rows(database.owner, "select version, direction, said from ops.migration_history where result = 'failed'")
    assert [(version, direction) for version, direction, _ in failed] == [(2, "up")]
    assert "line 4" in str(failed[0][2])


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("create table a (x int);\n\n-- again\ncreate table a (x int);\n", 'line 4: relation "a" already exists'),
        ("select 1;\ndo $$\nbegin\n  raise 'no; thanks';\nend $$;", "line 2: no; thanks. In PL/pgSQL"),
        ("select 1;\nselect 'é', 1 / 0;", "line 2: division by zero"),
        ("select 'é',\n  fehler();", r"line 2: function fehler\(\) does not exist"),
        ("select 1;\nselect 2 2;\n", "line 2: syntax error"),
        (
            "create table p (x int unique, y int references p (x) initially deferred);\ninsert into p\nvalues (1, 2);",
            "line 2: insert or update on table",  # found at the commit, which belongs to the last statement
        ),
        ("create table a (x int);\nbegin;\ncreate table b (x int);", "line 2, begins a transaction and does not end"),
        ("create table a (x int);\ndo $$ begin commit; end $$;", "line 2: invalid transaction termination"),
        ("create table a (x int);\ncopy a from stdin;", "waits for data of COPY"),
    ],
)
def test_a_failure_says_where(database: Database, tmp_path: Path, script: str, said: str) -> None:
    with pytest.raises(OpsError, match=said):
        migrate_up(database.owner, write(tmp_path, up1=script))
    assert status(database.owner, tmp_path).application.position == Position()


def test_a_failed_first_down_leaves_the_first_version(database: Database, tmp_path: Path) -> None:
    write(tmp_path, up1="create table a (x int);", down1="drop table b;")
    migrate_up(database.owner, tmp_path)
    with pytest.raises(DatabaseError, match='line 1: table "b" does not exist'):
        migrate_down(database.owner, tmp_path, steps=1)
    assert rows(database.owner, "table schema_migrations") == [(1, False)]


def test_an_index_is_built_concurrently_alone_in_its_file(database: Database, tmp_path: Path) -> None:
    write(tmp_path, up1="create table a (x int);", up2="-- alone\ncreate index concurrently i on a (x);\n")
    migrate_up(database.owner, tmp_path)
    assert rows(database.owner, "select indisvalid from pg_index where indexrelid = 'i'::regclass") == [(True,)]


def test_an_unreadable_file_is_found_before_its_statements_run(database: Database, tmp_path: Path) -> None:
    (tmp_path / "1_a.up.sql").write_bytes(b"select '\xff';")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        migrate_up(database.owner, tmp_path)


def test_warnings_of_postgresql_are_handed_on(database: Database, tmp_path: Path) -> None:
    write(tmp_path, up1="do $$ begin raise warning 'mind this'; raise notice 'not this'; end $$;")
    assert migrate_up(database.owner, tmp_path)[-1].warnings == ("mind this",)


@pytest.mark.parametrize("which", [0, 1], ids=["program", "library"])
def test_golang_migrates_lock_keeps_us_out_and_its_holder_is_named(database: Database, which: int) -> None:
    with connect(database.owner, application_name="the other one") as other:
        other.execute(
            "select pg_advisory_lock(%s)", (lock_ids(other.info.dbname, "public", "schema_migrations")[which],)
        )
        with pytest.raises(RefusedError, match=rf"process {other.info.backend_pid} “the other one”"):
            migrate_up(database.owner, MIGRATIONS, patience=HASTY)
        assert rows(database.owner, "select to_regclass('users')") == [(None,)]
    assert migrate_up(database.owner, MIGRATIONS, patience=HASTY)


def test_of_many_at_once_each_migration_is_applied_by_one(database: Database) -> None:
    applied, threads = [], []
    for _ in range(4):
        thread = threading.Thread(target=lambda: applied.extend(migrate_up(database.owner, MIGRATIONS)))
        thread.start()
        threads.append(thread)
    for thread in threads:
        thread.join(60)
    assert sorted((step.ledger, step.version) for step in applied) == [*OWN_VERSIONS, *VERSIONS]


def test_a_table_that_somebody_holds_is_waited_for_only_so_long(database: Database, tmp_path: Path) -> None:
    write(tmp_path, up1="create table a (x int);", up2="alter table a add y int;")
    migrate_up(database.owner, tmp_path, limit=1)
    with connect(database.owner) as other, other.transaction():
        other.execute("lock table a in access share mode")
        with pytest.raises(DatabaseError, match="line 1: canceling statement due to lock timeout"):
            migrate_up(database.owner, tmp_path, patience=HASTY)


def test_a_lock_that_comes_free_is_had_by_a_later_attempt(database: Database, tmp_path: Path) -> None:
    write(tmp_path, up1="create table a (x int);", up2="insert into a values (1); alter table a add y int;")
    migrate_up(database.owner, tmp_path, limit=1)
    said: list[str] = []
    with connect(database.owner) as other:
        other.execute("begin; lock table a in access share mode")

        def hear(sentence: str) -> None:
            said.append(sentence)
            other.execute("rollback")

        patience = Patience(table_lock=0.2, locks=60)
        (done,) = migrate_up(database.owner, tmp_path, hearers=Hearers(said=hear), patience=patience)
    assert "Trying again" in said[0]
    assert done.waited > 0.2
    assert rows(database.owner, "select x, y from a") == [(1, None)]
    waited = "select lock_wait_seconds > 0.2, result from ops.migration_history where version = 2 and ledger = 'public'"
    assert rows(database.owner, waited) == [(True, "applied")]


def test_a_dump_in_progress_does_not_hold_the_version_table_up(database: Database, tmp_path: Path) -> None:
    write(tmp_path, up1="create table a (x int);", up2="create table b (x int);")
    migrate_up(database.owner, tmp_path, limit=1)
    with connect(database.owner) as dump, dump.transaction():
        assert dump.execute("table schema_migrations").fetchall() == [(1, False)]
        migrate_up(database.owner, tmp_path, patience=HASTY)


def test_a_killed_run_leaves_nothing_and_its_lock_free(database: Database, tmp_path: Path) -> None:
    write(tmp_path, up1="create table a (x int);\nselect pg_sleep(60);")
    with killed_while(database, tmp_path, "pg_sleep(60)"):
        pass
    assert status(database.owner, tmp_path).application.position == Position()
    assert rows(database.owner, "select to_regclass('a')") == [(None,)]
    write(tmp_path, up1="create table a (x int);")
    assert migrate_up(database.owner, tmp_path, patience=HASTY)


def test_a_standby_is_refused(stack_standby: str) -> None:
    with pytest.raises(RefusedError, match="standby"):
        migrate_up(stack_standby, MIGRATIONS)


def test_a_connection_pooler_is_noticed_and_refused(database: Database) -> None:
    with connect(database.owner) as connection:
        server = connection.info
        pooler = Pooler(server.host, server.port)
        through = make_conninfo(database.owner, host="127.0.0.1", port=pooler.port, password=server.password)
    try:
        assert not status(through, MIGRATIONS).current  # reading is nobody's harm
        with pytest.raises(RefusedError, match="connection pooler stands between"):
            migrate_up(through, MIGRATIONS)
    finally:
        pooler.close()
    assert rows(database.owner, "select to_regclass('users')") == [(None,)]


def test_two_programs_on_one_database_each_have_a_version_of_their_own(database: Database, tmp_path: Path) -> None:
    """Each has a schema and a folder of its own; golang-migrate's table lies in each of the schemas."""
    folders, dsns = dict[str, Path](), dict[str, str]()
    for name in ("shop", "depot"):
        with connect(database.owner) as connection:
            connection.execute(f"create schema {name}".encode())
        (folder := tmp_path / name).mkdir()
        folders[name], dsns[name] = folder, make_conninfo(database.owner, options=f"-c search_path={name}")
        write(
            folder, up1="create table things (x int);", down1="drop table things;", up2="insert into things values (2)"
        )
    migrate_up(dsns["shop"], folders["shop"])
    migrate_up(dsns["depot"], folders["depot"], limit=1)
    versions = {name: status(dsns[name], folders[name]).application.position for name in dsns}
    assert versions == {"shop": Position(2), "depot": Position(1)}
    migrate_down(dsns["depot"], folders["depot"], steps=1)
    assert status(dsns["shop"], folders["shop"]).current
    assert rows(database.owner, "select to_regclass('depot.things'), (select x from shop.things)") == [(None, 2)]


def test_an_unreachable_server_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="Connection refused"):
        migrate_up("postgresql://x@127.0.0.1:1/x", write(tmp_path, up1="select 1"))


def test_two_rows_in_the_version_table_are_refused(database: Database) -> None:
    migrate_up(database.owner, MIGRATIONS)
    rows(database.owner, "insert into schema_migrations values (7, false) returning 1")
    with pytest.raises(DatabaseError, match="holds 2 rows"):
        status(database.owner, MIGRATIONS)
