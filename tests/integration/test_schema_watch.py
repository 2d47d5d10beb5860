"""What each statement of a migration did to others, watched on a real server."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops_workflows.errors import DatabaseError
from ops_workflows.postgres.connection import connect
from ops_workflows.schema.apply import Hearers, Terms, migrate
from ops_workflows.schema.plan import upward
from ops_workflows.schema.session import DEFAULT_PATIENCE, Patience
from ops_workflows.schema.watch import Lock, Watched, Watcher
from ops_workflows.settings import Settings
from tests.support.schema import Database, own_database, rows, wait_for, write

APPLICATION = "the application"
TABLES = """
    create table a (id int primary key, n int not null);
    insert into a select i, 0 from generate_series(1, 20000) i;
    create table b (id int primary key, a int references a);
    create view v as select 1 as one"""
WAITS_HALF_A_SECOND = "not granted and clock_timestamp() - waitstart > interval '0.5 s'"
WAITS_FOR_A = f"select from pg_locks where relation = 'a'::regclass and {WAITS_HALF_A_SECOND}"
WAITS_FOR_A_TRANSACTION = f"select from pg_locks where locktype = 'virtualxid' and {WAITS_HALF_A_SECOND}"
UNTIL_SOMEBODY_WAITS = f"""
do $$ begin
    while not exists ({WAITS_FOR_A}) loop perform pg_sleep(0.01); end loop;
end $$"""


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    with own_database(settings) as made:
        with connect(made.owner) as connection:
            connection.execute(TABLES)
        yield made


def watch(
    database: Database, folder: Path, patience: Patience = DEFAULT_PATIENCE, hearers: Hearers | None = None
) -> list[Watched]:
    """Apply what is pending in the folder, and what each statement of it did."""
    watcher, said = Watcher(database.superuser), (hearers or Hearers()).said
    terms = Terms(Hearers(lambda _: watcher.end_file(), said), patience, watch=watcher.watch)
    with watcher.looking():
        migrate(database.owner, folder, upward(), terms)
    return watcher.watched


def modes(watched: Watched) -> set[tuple[str, str]]:
    return {(lock.table, lock.mode) for lock in watched.locks}


def only(watched: Watched, mode: str) -> Lock:
    (found,) = [lock for lock in watched.locks if lock.mode == mode]
    return found


@contextmanager
def together(work: threading.Thread) -> Iterator[None]:
    work.start()
    try:
        yield
    finally:
        work.join(30)
    assert not work.is_alive()


def test_rows_are_counted_exactly_those_of_a_do_block_and_of_cascades_as_well(
    database: Database, tmp_path: Path
) -> None:
    script = """
        insert into b select i, i from generate_series(1, 500) i;
        update a set n = n + 1 where id <= 1234;
        delete from a where id > 19000;
        do $$ begin insert into b values (1000, 1000); update a set n = 7 where id <= 10; end $$;
        select count(*) from a;
        alter table b drop constraint b_a_fkey, add foreign key (a) references a on delete cascade;
        delete from a where id <= 5;"""
    found = watch(database, write(tmp_path, up1=script))
    assert [each.rows for each in found] == [500, 1234, 1000, 11, 0, 0, 10]


def test_rows_of_a_file_that_is_run_statement_by_statement_are_counted(database: Database, tmp_path: Path) -> None:
    script = "-- ops: no-transaction\ninsert into b values (1, 1);\nupdate a set n = 1 where id <= 3;\nvacuum a;"
    found = watch(database, write(tmp_path, up1=script))
    assert [each.rows for each in found] == [1, 3, 0]


def test_a_rewrite_is_told_and_a_harmless_column_is_not(database: Database, tmp_path: Path) -> None:
    write(tmp_path, up1="alter table a add m int not null default 5;", up2="alter table a alter n type bigint;")
    write(tmp_path, up3="vacuum full b;", up4="create table c as select * from a;")
    harmless, rewriting, vacuuming, copying = watch(database, tmp_path)
    assert [each.rewritten for each in (harmless, rewriting, vacuuming)] == [(), ("public.a",), ("public.b",)]
    assert harmless.grown == 0
    assert abs(rewriting.grown) < 1_000_000
    (size,) = rows(database.owner, "select pg_total_relation_size('c')")
    assert (copying.grown, copying.rewritten, copying.rows) == (*size, (), 20_000)


def test_a_table_of_the_file_itself_is_locked_against_nobody(database: Database, tmp_path: Path) -> None:
    made, changed, index = watch(
        database, write(tmp_path, up1="create table c (id int);\nalter table c add m int;\ncreate index on c (m);")
    )
    assert [each.locks for each in (made, changed, index)] == [[], [], []]


def test_a_lock_is_held_to_the_end_of_its_file_and_told_of_the_statement_that_took_it(
    database: Database, tmp_path: Path
) -> None:
    write(tmp_path, up1="alter table a add m int;\nselect pg_sleep(0.6);\nupdate a set m = 1 where id = 1;")
    write(tmp_path, up2="alter table a add o int;")
    first, asleep, update, later = watch(database, tmp_path)
    assert modes(first) == {("public.a", "AccessExclusiveLock")}
    assert 0.6 < only(first, "AccessExclusiveLock").seconds < 5
    assert asleep.locks == []
    assert modes(update) == {("public.a", "RowExclusiveLock")}
    assert only(update, "RowExclusiveLock").seconds < only(first, "AccessExclusiveLock").seconds - 0.6
    assert modes(later) == {("public.a", "AccessExclusiveLock")}
    assert only(later, "AccessExclusiveLock").seconds < 0.6


def test_what_is_dropped_is_locked_too_and_its_bytes_are_gone_once(database: Database, tmp_path: Path) -> None:
    (size,) = rows(database.owner, "select -pg_total_relation_size('b')")
    dropped, view, asleep = watch(
        database,
        write(tmp_path, up1="drop table b;\ncreate or replace view v as select 1 as one, 2 as two;\nselect 1;"),
    )
    assert modes(dropped) == {("public.a", "AccessExclusiveLock"), ("public.b", "AccessExclusiveLock")}
    assert (dropped.grown, dropped.rewritten, asleep.grown, asleep.locks) == (*size, (), 0, [])
    assert ("public.v", "AccessExclusiveLock") in modes(view)


def test_what_an_index_locks_while_it_is_built_concurrently_is_seen_by_the_second_session(
    database: Database, tmp_path: Path
) -> None:
    """The build waits for a transaction that is older than it, and so can be seen for certain."""
    write(tmp_path, up1="create index concurrently i on a (n);")
    found: list[Watched] = []
    with connect(database.owner) as older:
        older.execute("begin; update a set n = 1 where id = 1")
        with together(threading.Thread(target=lambda: found.extend(watch(database, tmp_path)))):
            wait_for(lambda: bool(rows(database.superuser, WAITS_FOR_A_TRANSACTION)))
            older.execute("commit")
    (built,) = found
    assert modes(built) == {("public.a", "ShareUpdateExclusiveLock")}
    assert 0.45 < only(built, "ShareUpdateExclusiveLock").seconds <= built.seconds + 0.1
    assert 0.45 < built.waited < built.seconds
    assert (built.rewritten, built.rows, built.waits) == ((), 0, {})


def test_a_session_that_waits_behind_is_told_with_its_seconds(database: Database, tmp_path: Path) -> None:
    write(tmp_path, up1=f"alter table a add m int;{UNTIL_SOMEBODY_WAITS};")
    held = "select from pg_locks where granted and relation = 'a'::regclass and mode = 'AccessExclusiveLock'"

    def application() -> None:
        with connect(database.owner, application_name=APPLICATION) as connection:
            wait_for(lambda: bool(connection.execute(held).fetchall()))
            connection.execute("select count(*) from a")
            wait_for(lambda: bool(connection.execute(held).fetchall()))
            connection.execute("/* a read by name */ select count(*) from a")

    with together(threading.Thread(target=application)):
        write(tmp_path, up2=f"alter table a add o int;{UNTIL_SOMEBODY_WAITS};")
        first, behind, second, behind_again = watch(database, tmp_path)
    assert (list(behind.waits), list(behind_again.waits)) == ([APPLICATION], ["a read by name"])
    for each in (behind, behind_again):
        (waited,) = each.waits.values()
        assert 0.45 < waited <= each.seconds + 0.1
    for each in (first, second):
        assert only(each, "AccessExclusiveLock").seconds > 0.5
        assert all(seconds < 0.4 for seconds in each.waits.values())


def test_a_lock_that_was_waited_for_is_told_from_when_it_was_had(database: Database, tmp_path: Path) -> None:
    write(tmp_path, up1="alter table a add m int;")
    found: list[Watched] = []
    with connect(database.owner) as other:
        other.execute("begin; lock table a in access share mode")
        with together(threading.Thread(target=lambda: found.extend(watch(database, tmp_path)))):
            wait_for(lambda: bool(rows(database.superuser, WAITS_FOR_A)))
            other.execute("commit")
    (altered,) = found
    assert 0.45 < altered.waited <= altered.seconds
    assert only(altered, "AccessExclusiveLock").seconds < altered.seconds - 0.4


def test_a_file_that_is_tried_again_is_told_once(database: Database, tmp_path: Path) -> None:
    write(tmp_path, up1="insert into b values (1, 1);\nalter table a add m int;\nupdate a set m = 1 where id <= 9;")
    with connect(database.owner) as other:
        other.execute("begin; lock table a in row exclusive mode")
        said: list[str] = []

        def hear(sentence: str) -> None:
            said.append(sentence)
            if len(said) == 2:
                other.execute("commit")

        found = watch(database, tmp_path, Patience(table_lock=0.2), Hearers(said=hear))
    assert len(said) == 2
    assert [(each.statement.words[0], each.rows) for each in found] == [("insert", 1), ("alter", 0), ("update", 9)]
    assert [len(each.locks) == len(set(modes(each))) for each in found] == [True] * 3
    assert only(found[1], "AccessExclusiveLock").seconds < 5


def test_a_file_that_fails_is_told_up_to_the_statement_that_failed(database: Database, tmp_path: Path) -> None:
    write(tmp_path, up1="alter table a add m int;\nselect 1 / 0;\nselect 2;")
    watcher = Watcher(database.superuser)
    with watcher.looking(), pytest.raises(DatabaseError, match="division by zero"):
        migrate(database.owner, tmp_path, upward(), Terms(watch=watcher.watch))
    watcher.end_file()
    first, failed = watcher.watched
    assert modes(first) == {("public.a", "AccessExclusiveLock")}
    assert (failed.locks, failed.rows) == ([], 0)


def test_what_the_second_session_cannot_see_is_an_error_and_not_silence() -> None:
    watcher = Watcher("host=127.0.0.1 port=1")
    with pytest.raises(DatabaseError, match="Connection refused"), watcher.looking():
        pass
