"""Files that PostgreSQL refuses as one transaction: run statement by statement, and gone on with where a run ended."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops_workflows.errors import DatabaseError, RefusedError
from ops_workflows.postgres.connection import connect
from ops_workflows.schema.apply import Hearers, baseline, force, migrate_down, migrate_to, migrate_up, status
from ops_workflows.schema.lint import lint
from ops_workflows.schema.plan import NOTHING, Position
from ops_workflows.schema.session import Patience
from ops_workflows.schema.source import read_source
from ops_workflows.settings import Settings
from tests.support.schema import MIGRATIONS, Database, killed_while, own_database, rows, wait_for, write

HASTY = Patience(other_migration=0.5, table_lock=0.5, locks=0.5)
WAIT = "select pg_sleep(case when exists (select from gate) then 60 else 0 end)"
HISTORY = "select direction, result, statements_done from ops.migration_history where ledger = 'public' order by id"


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    with own_database(settings) as made:
        yield made


@pytest.fixture
def gated(database: Database) -> Database:
    """Its first migration makes a table to wait by: while it has a row, `WAIT` waits."""
    with connect(database.owner) as connection:
        connection.execute("create table gate (shut bool); create table a (x int); insert into a values (1), (1)")
    return database


def position(database: Database, folder: Path) -> Position:
    return status(database.owner, folder).application.position


def shut(database: Database) -> None:
    rows(database.owner, "insert into gate values (true) returning 1")


def open_again(database: Database) -> None:
    rows(database.owner, "delete from gate returning 1")


def test_an_index_is_built_concurrently_among_other_statements(gated: Database, tmp_path: Path) -> None:
    """golang-migrate wants it alone in its file."""
    write(tmp_path, up1="insert into a values (2);\ncreate index concurrently i on a (x);\ninsert into a values (3);")
    migrate_up(gated.owner, tmp_path)
    assert position(gated, tmp_path) == Position(1)
    assert rows(gated.owner, "select x from a order by x") == [(1,), (1,), (2,), (3,)]
    assert rows(gated.owner, HISTORY) == [("up", "applied", 3)]


def test_a_unique_index_over_duplicates_leaves_an_invalid_one_and_is_built_anew(
    gated: Database, tmp_path: Path
) -> None:
    write(tmp_path, up1="insert into a values (7);\ncreate unique index concurrently i on a (x);")
    with pytest.raises(DatabaseError, match=r"line 2: could not create unique index .* goes on there"):
        migrate_up(gated.owner, tmp_path)
    assert position(gated, tmp_path) == Position(1, dirty=True)
    assert rows(gated.owner, "select indisvalid from pg_index where indexrelid = 'i'::regclass") == [(False,)]
    rows(gated.owner, "delete from a where ctid = (select min(ctid) from a) returning 1")
    migrate_up(gated.owner, tmp_path)
    assert rows(gated.owner, "select indisvalid from pg_index where indexrelid = 'i'::regclass") == [(True,)]
    assert rows(gated.owner, "select x from a order by x") == [(1,), (7,)]
    assert position(gated, tmp_path) == Position(1)


@pytest.mark.parametrize("before", [0, 1, 2, 3], ids=["first", "behind-one", "behind-the-index", "last"])
def test_killed_anywhere_the_next_run_goes_on_there(gated: Database, tmp_path: Path, before: int) -> None:
    parts = ["insert into a values (2)", "create index concurrently i on a (x)", "insert into a values (3)"]
    parts.insert(before, WAIT)
    write(tmp_path, up1="-- ops: no-transaction\n" + ";\n".join(parts) + ";")
    shut(gated)
    with killed_while(gated, tmp_path, "pg_sleep(case"):
        assert position(gated, tmp_path) == Position(1, dirty=True)
    open_again(gated)
    said: list[str] = []
    migrate_up(gated.owner, tmp_path, hearers=Hearers(said=said.append))
    assert f"{before} of its 4 statements have been carried out" in said[0]
    assert position(gated, tmp_path) == Position(1)
    assert rows(gated.owner, "select x from a order by x") == [(1,), (1,), (2,), (3,)]
    assert rows(gated.owner, HISTORY) == [("up", "applied", 4)]


def test_killed_while_an_index_is_built_it_is_built_anew(gated: Database, tmp_path: Path) -> None:
    """The build waits for a transaction that is older than it, and so can be caught in the middle."""
    write(tmp_path, up1="create index concurrently i on a (x);")
    with connect(gated.owner) as older:
        older.execute("begin; insert into a values (4)")
        with killed_while(gated, tmp_path, "create index concurrently i"):
            pass
        older.execute("commit")
    assert position(gated, tmp_path) == Position(1, dirty=True)
    migrate_up(gated.owner, tmp_path)
    assert rows(gated.owner, "select indisvalid from pg_index where indexrelid = 'i'::regclass") == [(True,)]
    assert position(gated, tmp_path) == Position(1)


@pytest.mark.parametrize("inside", [True, False], ids=["in-its-transaction", "behind-its-commit"])
def test_killed_in_a_file_with_a_transaction_of_its_own(gated: Database, tmp_path: Path, inside: bool) -> None:
    parts = ["begin", "insert into a values (2)", "commit", "insert into a values (3)"]
    parts.insert(2 if inside else 3, WAIT)
    write(tmp_path, up1=";\n".join(parts) + ";")
    shut(gated)
    with killed_while(gated, tmp_path, "pg_sleep(case"):
        pass
    open_again(gated)
    migrate_up(gated.owner, tmp_path)
    assert rows(gated.owner, "select x from a order by x") == [(1,), (1,), (2,), (3,)]
    assert position(gated, tmp_path) == Position(1)


def test_a_file_that_was_altered_since_is_not_gone_on_with(gated: Database, tmp_path: Path) -> None:
    write(tmp_path, up1="insert into a values (7);\ncreate unique index concurrently i on a (x);")
    with pytest.raises(DatabaseError):
        migrate_up(gated.owner, tmp_path)
    write(tmp_path, up1="insert into a values (7);\ncreate index concurrently i on a (x);")
    with pytest.raises(
        RefusedError, match=r"1 statements of 000001_step\.up\.sql were carried out, and the file has been"
    ):
        migrate_up(gated.owner, tmp_path)


def test_what_nobody_can_tell_is_left_to_a_person(gated: Database, tmp_path: Path) -> None:
    """Killed behind a statement of which the catalogue says nothing, before the history knew of it."""
    write(tmp_path, up1="-- ops: no-transaction\nalter table p detach partition p1 concurrently;")
    with connect(gated.owner) as connection:
        connection.execute("create table p (x int) partition by list (x)")
        connection.execute("create table p1 partition of p for values in (1)")
    migrate_up(gated.owner, tmp_path)
    rows(gated.owner, "update schema_migrations set dirty = true returning 1")
    rows(gated.owner, "update ops.migration_history set result = 'running', statements_done = 0 returning 1")
    with pytest.raises(DatabaseError, match="line 2: whether this statement was carried out"):
        migrate_up(gated.owner, tmp_path)


def test_a_foreign_dirty_version_is_explained_and_can_be_set_right(gated: Database, tmp_path: Path) -> None:
    """As golang-migrate leaves it when a file fails."""
    write(tmp_path, up1="insert into a values (2);", up2="insert into a values (3);")
    migrate_up(gated.owner, tmp_path, limit=1)
    rows(gated.owner, "update schema_migrations set version = 2, dirty = true returning 1")
    with pytest.raises(RefusedError, match=r"not `ops migrate` that left it so.*ops migrate force"):
        migrate_up(gated.owner, tmp_path)
    assert force(gated.owner, tmp_path, version=1) == Position(2, dirty=True)
    assert [step.version for step in migrate_up(gated.owner, tmp_path)] == [2]
    assert [direction for direction, _, _ in rows(gated.owner, HISTORY)] == ["up", "force", "up"]


def test_to_a_version_up_and_down(gated: Database, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        write(tmp_path, **{f"up{number}": f"create table t{number} ();", f"down{number}": f"drop table t{number};"})
    assert [step.version for step in migrate_to(gated.owner, tmp_path, version=2) if step.ledger == "public"] == [1, 2]
    assert [step.version for step in migrate_to(gated.owner, tmp_path, version=3)] == [3]
    assert [(step.direction, step.version) for step in migrate_to(gated.owner, tmp_path, version=1)] == [
        ("down", 3),
        ("down", 2),
    ]
    assert migrate_to(gated.owner, tmp_path, version=1) == []
    with pytest.raises(RefusedError, match="There is no migration 9: the folder has 1 to 3"):
        migrate_to(gated.owner, tmp_path, version=9)
    migrate_to(gated.owner, tmp_path, version=NOTHING)
    assert position(gated, tmp_path) == Position()


def test_a_schema_that_was_made_otherwise_is_taken_over(gated: Database, tmp_path: Path) -> None:
    write(tmp_path, up1="create table a (x int);", up2="alter table a add y int;", down2="alter table a drop y;")
    baseline(gated.owner, tmp_path, version=1)
    assert [step.version for step in migrate_up(gated.owner, tmp_path)] == [2]
    with pytest.raises(RefusedError, match="is at version 2 already"):
        baseline(gated.owner, tmp_path, version=1)
    assert [step.version for step in migrate_down(gated.owner, tmp_path, steps=1)] == [2]


def test_the_history_says_who_and_from_where_there_is_a_way_back(gated: Database, tmp_path: Path) -> None:
    write(tmp_path, up1="create table t1 ();")
    migrate_up(gated.owner, tmp_path)
    ((who, name, sha256, point, lsn),) = rows(
        gated.owner,
        "select who, name, sha256, restore_point, restore_lsn <= pg_current_wal_lsn() from ops.migration_history "
        "where ledger = 'public'",
    )
    assert str(who).endswith(" as ops_owner")
    assert (name, len(str(sha256)), lsn) == ("step", 64, True)
    assert str(point).startswith("migrate public from -1 at ")


def test_timeouts_of_a_file_are_its_own(gated: Database, tmp_path: Path) -> None:
    write(tmp_path, up1="-- ops: statement-timeout 100ms\nselect pg_sleep(60);")
    with pytest.raises(DatabaseError, match="line 2: canceling statement due to statement timeout"):
        migrate_up(gated.owner, tmp_path)
    write(tmp_path, up1="-- ops: lock-timeout 50ms\nalter table a add y int;")
    with connect(gated.owner) as other:
        other.execute("begin; lock table a in access share mode")
        with pytest.raises(DatabaseError, match="line 2: canceling statement due to lock timeout"):
            migrate_up(gated.owner, tmp_path, patience=Patience(table_lock=60, locks=0.2))


def test_files_that_do_not_agree_with_what_was_applied_stop_the_next_run(gated: Database, tmp_path: Path) -> None:
    write(tmp_path, up1="create table t1 ();", up3="create table t3 ();")
    migrate_up(gated.owner, tmp_path)
    assert status(gated.owner, tmp_path).current
    write(tmp_path, up1="create table t1 (x int);", up2="create table t2 ();", up4="create table t4 ();")
    said = status(gated.owner, tmp_path).drift
    assert [sentence.partition(" ")[0] for sentence in said] == ["000001_step.up.sql", "000002_step.up.sql"]
    with pytest.raises(RefusedError, match=r"altered since .* was added after .* `ops migrate force 3`"):
        migrate_up(gated.owner, tmp_path)
    force(gated.owner, tmp_path, version=3)
    assert [step.version for step in migrate_up(gated.owner, tmp_path)] == [4]


def test_an_index_that_is_not_valid_is_drift(gated: Database, tmp_path: Path) -> None:
    write(tmp_path, up1="create table t1 ();")
    migrate_up(gated.owner, tmp_path)
    with pytest.raises(DatabaseError, match="could not create unique index"):
        rows(gated.owner, "create unique index concurrently broken on a (x)")
    assert status(gated.owner, tmp_path).drift == ("Index public.broken is not valid: drop it, or build it anew.",)


def test_the_examples_of_the_documentation_lead_a_table_with_rows_there(database: Database, tmp_path: Path) -> None:
    pages = (MIGRATIONS / "README.md", MIGRATIONS.parent / "docs/wider-key.md")
    text = "".join(page.read_text() for page in pages)
    blocks = re.findall(r"^```sql\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    files = [re.split(r"^-- (\d{6}_\w+\.(?:up|down)\.sql)$", block, flags=re.MULTILINE) for block in blocks]
    assert all(before == "" for before, *_ in files)
    for _, *named in files:
        for name, content in zip(named[::2], named[1::2], strict=True):
            (tmp_path / name).write_text(content)
    base = "create table orders (id int primary key, customer int not null, note text, amount numeric)"
    fill = "insert into orders select n * 1000, n / 2, nullif(n % 3, 0)::text, n from generate_series(1, 400) n"
    with connect(database.owner) as connection:
        connection.execute(f"{base}; {fill}".encode())
    assert lint([read_source(path) for path in sorted(tmp_path.iterdir())], 18) == []

    migrate_to(database.owner, tmp_path, version=15)  # where the old and the new application work side by side
    for statement, both in (
        ("insert into orders (id, customer, note, amount) values (1, -1, '', 7)", 7),
        ("insert into orders (id, customer, note, total) values (2, -2, '', 8)", 8),
        ("update orders set amount = 9 where id = 2", 9),
        ("update orders set total = 10 where id = 2", 10),
        ("update orders set total = null where id = 2", None),
    ):
        assert rows(database.owner, f"{statement} returning amount, total") == [(both, both)]

    migrate_up(database.owner, tmp_path)
    columns = (
        "select attname, format_type(atttypid, null), attnotnull from pg_attribute "
        "where attrelid = 'orders'::regclass and attnum > 0 and not attisdropped order by 1"
    )
    assert rows(database.owner, columns) == [
        ("customer", "integer", True),
        ("id", "bigint", True),
        ("note", "text", True),
        ("token", "uuid", False),
        ("total", "numeric", False),
    ]
    assert rows(database.owner, "select count(*), count(distinct token) from orders") == [(203, 203)]
    assert rows(database.owner, "select total from orders where id = 399000") == [(399,)]


def test_a_concurrent_index_waits_for_older_transactions_as_long_as_it_may(gated: Database, tmp_path: Path) -> None:
    """It keeps nobody out meanwhile; at the end of its patience the run says so, and the next one builds it anew."""
    write(tmp_path, up1="create index concurrently i on a (x);")
    with connect(gated.superuser, application_name="older") as older:
        older.execute("begin isolation level repeatable read; select from a")
        with pytest.raises(
            DatabaseError, match=r"line 1: .*lock timeout.* nothing of the file was done: .* begins it anew"
        ):
            migrate_up(gated.owner, tmp_path, patience=HASTY)
        assert rows(gated.owner, HISTORY) == [("up", "failed", 0)]
        # What it left cannot be dropped either before the older transaction ends.
        with pytest.raises(DatabaseError, match=r"line 1: .*i, which is not valid, cannot be dropped yet"):
            migrate_up(gated.owner, tmp_path, patience=HASTY)
        older.execute("rollback")
    migrate_up(gated.owner, tmp_path)
    assert position(gated, tmp_path) == Position(1)
    assert rows(gated.owner, "select indisvalid from pg_index where indexrelid = 'i'::regclass") == [(True,)]


def test_a_file_that_failed_before_anything_was_done_may_be_mended(gated: Database, tmp_path: Path) -> None:
    write(tmp_path, up1="-- ops: no-transaction\ninsert into a valuess (2);")
    with pytest.raises(DatabaseError, match="marked dirty, and nothing of the file was done"):
        migrate_up(gated.owner, tmp_path)
    write(tmp_path, up1="-- ops: no-transaction\ninsert into a values (2);")
    said: list[str] = []
    migrate_up(gated.owner, tmp_path, hearers=Hearers(said=said.append))
    assert said == ["000001_step.up.sql failed before anything of it was done. Beginning anew."]
    assert position(gated, tmp_path) == Position(1)
    assert rows(gated.owner, HISTORY) == [("up", "failed", 0), ("up", "applied", 1)]


def test_a_file_that_fails_in_a_transaction_of_its_own_begins_anew(gated: Database, tmp_path: Path) -> None:
    write(tmp_path, up1="begin;\ninsert into a values (2);\nselect 1 / 0;\ncommit;")
    with pytest.raises(DatabaseError, match=r"line 3: division by zero.* nothing of the file was done"):
        migrate_up(gated.owner, tmp_path)
    write(tmp_path, up1="begin;\ninsert into a values (2);\nselect 1;\ncommit;")
    migrate_up(gated.owner, tmp_path)
    assert rows(gated.owner, "select x from a order by x") == [(1,), (1,), (2,)]


LOOP = "for n in 2..4 loop insert into a values (n); commit; {then} end loop;"


@pytest.mark.parametrize("means", ["procedure", "do"])
def test_what_commits_in_its_middle_may_where_the_file_says_so(gated: Database, tmp_path: Path, means: str) -> None:
    body = f"$$ begin {LOOP.format(then='')} end $$"
    text = f"do {body};" if means == "do" else f"create procedure p() language plpgsql as {body};\ncall p();"
    write(tmp_path, up1=f"-- ops: no-transaction\n{text}\ninsert into a values (5);")
    migrate_up(gated.owner, tmp_path)
    assert rows(gated.owner, "select x from a order by x") == [(1,), (1,), (2,), (3,), (4,), (5,)]
    assert position(gated, tmp_path) == Position(1)


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "failed"])
def test_how_far_a_loop_that_commits_has_come_nobody_can_tell(gated: Database, tmp_path: Path, killed: bool) -> None:
    fails = "perform 1 / (select (n < 3)::int from (values (1)) v);"
    then = f"if n = 3 then perform pg_sleep(60); end if; {fails}" if killed else fails
    loop = f"do $$ begin {LOOP.format(then=then)} end $$;"
    write(tmp_path, up1=f"-- ops: no-transaction\n{loop}")
    if killed:
        with killed_while(gated, tmp_path, "if n = 3"):
            wait_for(lambda: len(rows(gated.owner, "select x from a")) == 4)
    else:
        with pytest.raises(DatabaseError, match=r"division by zero.* how much of this statement was committed cannot"):
            migrate_up(gated.owner, tmp_path)
    assert rows(gated.owner, "select x from a order by x") == [(1,), (1,), (2,), (3,)]
    with pytest.raises(DatabaseError, match="line 2: whether, or how far, this statement was carried out"):
        migrate_up(gated.owner, tmp_path)
    force(gated.owner, tmp_path, version=NOTHING)
    write(tmp_path, up1="-- ops: no-transaction\ndo $$ begin delete from a where x > 1; commit; end $$;")
    migrate_up(gated.owner, tmp_path)
    assert rows(gated.owner, "select x from a") == [(1,), (1,)]


def test_timeouts_of_the_role_do_not_cut_a_migration_off(gated: Database, tmp_path: Path) -> None:
    with connect(gated.superuser) as connection:
        for timeout in ("transaction_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout"):
            connection.execute(
                f"alter role ops_owner in database {connection.info.dbname} set {timeout} = '900ms'".encode()
            )
    with pytest.raises(DatabaseError, match="transaction timeout"):
        rows(gated.owner, "select pg_sleep(1)")
    write(tmp_path, up1="select pg_sleep(1);")
    migrate_up(gated.owner, tmp_path)
    assert position(gated, tmp_path) == Position(1)
