"""A cluster full of what is unusual and healthy, at rest and at work."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.resources import files

import psycopg

from ops_workflows.backup.dump import take_dump
from ops_workflows.backup.policy import Kind
from ops_workflows.errors import DatabaseError
from ops_workflows.faults.source import Source, source
from ops_workflows.postgres.connection import connect
from ops_workflows.progress import Progress
from ops_workflows.repository.backup import Backup
from ops_workflows.repository.dump import Dump
from ops_workflows.settings import Settings

_SQL = files(__package__).joinpath("odd.sql").read_text()
_CROWD = 1000  # tables in one database
_AT_ONCE = 100  # of them are made in one transaction, for each takes locks
_A_HUNDRED = """
    DO $$
    BEGIN
        FOR n IN {0} .. {0} + 99 LOOP
            EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY)', n);
            EXECUTE format('INSERT INTO t%s VALUES (1)', n);
        END LOOP;
    END
    $$"""
_DATABASES = ("Odd \"database\" 雪 'x'", "other_collation", "other_encoding")
_COLLATIONS = """
    SELECT collname::regcollation::text FROM (
        SELECT quote_ident(collname) AS collname FROM pg_collation
        WHERE collname IN ('C', 'ucs_basic', 'pg_c_utf8', 'pg_unicode_fast', 'und-x-icu', 'de-x-icu')
            AND collencoding IN (-1, pg_char_to_encoding('UTF8'))
    ) AS found"""
_WORDS = ["ä", "Z", "a", "ß", "", "ﬀ", "雪"]
_WRITERS_STOP_SECONDS = 30

AT_REST = (
    "tables: empty",
    "tables: without a column",
    "rows: of 50 MB",
    "columns: dropped, and added with a default",
    "names: spaces, quotes, keywords, 63 bytes, not ASCII",
    "collations: C, builtin, ICU if there is any",
    "encodings: LATIN1",
    "tables: unlogged",
    "tables: temporary, of an open session",
    "materialized views: filled and not",
    "tables: partitioned, in two levels",
    "columns: generated",
    "large objects",
    "sequences: descending, cycling",
    "extensions, and indexes of other kinds than B-tree",
    "row level security, forced",
    "types: enumerations, domains; inheritance",
    "tables: 1,000 of them",
    "databases: several, one empty",
    "transactions: prepared, and left open",
)
AT_WORK = (
    "writes while the backup runs",
    "DDL while the backup runs",
    "subtransactions in flight",
    "a transaction open since before the backup",
)


@dataclass(frozen=True, slots=True)
class Odd:
    """The cluster and what was made of it.

    Attributes:
        source: Its server.
        at_rest: A backup of it at rest.
        at_work: One taken while it was worked with, incremental to that.
        dump: A dump.
    """

    source: Source
    at_rest: Backup
    at_work: Backup
    dump: Dump


@contextmanager
def odd(settings: Settings, progress: Progress) -> Iterator[Odd]:
    """Make it, for the length of a `with`."""
    with source(settings, progress) as made, ExitStack() as sessions:
        _fill(made)
        _prepare(made, "locking", "ALTER TABLE promised ADD COLUMN more int")  # which locks out all others
        temporary = sessions.enter_context(connect(made.server.dsn()))
        temporary.execute("CREATE TEMPORARY TABLE fleeting AS SELECT generate_series(1, 100) AS n")
        at_rest = made.back_up_and_plant()
        made.run("ROLLBACK PREPARED 'locking'")  # a dump would wait for it, as anybody does
        made.run("ALTER ROLE ops_backup BYPASSRLS")  # without which it refuses to dump what it is not let see
        dump = take_dump(made.settings)
        with _working(made):
            at_work = made.back_up(Kind.INCREMENTAL)
        made.plant_two()
        yield Odd(made, at_rest, at_work, dump)


def _fill(made: Source) -> None:
    with made.connected() as connection:
        for statement in _SQL.split(";\n"):
            if statement.strip():
                connection.execute(statement.encode())
        names = [name for (name,) in connection.execute(_COLLATIONS)]
        for number, name in enumerate(names):
            connection.execute(f"CREATE TABLE collated_{number} (w text COLLATE {name} PRIMARY KEY)".encode())
            connection.execute(f"INSERT INTO collated_{number} SELECT unnest(%s::text[])".encode(), [_WORDS])
    for database in _DATABASES:
        made.run("CREATE TABLE words (w text PRIMARY KEY); INSERT INTO words VALUES ('a'), ('B'), ('')", database)
    for start in range(0, _CROWD, _AT_ONCE):
        made.run(_A_HUNDRED.format(start), "crowded")
    made.run("CREATE TABLE promised (id int); CREATE TABLE kept (id int)")
    _prepare(made, "keeping", "INSERT INTO kept VALUES (1)")


def _prepare(made: Source, name: str, statement: str) -> None:
    with made.connected() as connection:
        for step in ("BEGIN", statement, f"PREPARE TRANSACTION '{name}'"):
            connection.execute(step.encode())


@contextmanager
def _working(made: Source) -> Iterator[None]:
    """Writers and changers of the schema, for the length of a `with`."""
    stop, failures = threading.Event(), list[BaseException]()

    def work(step: str) -> None:
        try:
            with connect(made.server.dsn()) as connection:
                while not stop.is_set():
                    with suppress(psycopg.errors.DeadlockDetected):  # of two writers; one of them tries again
                        connection.execute(step.encode())
                    stop.wait(0.005)
        except DatabaseError as error:
            failures.append(error)

    with connect(made.server.dsn()) as waiting:
        waiting.execute(_PREPARATION.encode())
        waiting.execute("BEGIN")
        waiting.execute("INSERT INTO busy (body) VALUES ('open')")
        threads = [threading.Thread(target=work, args=(step,), daemon=True) for step in _STEPS]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join(_WRITERS_STOP_SECONDS)
            with suppress(DatabaseError):
                waiting.execute("COMMIT")
    if failures:
        raise failures[0]


_PREPARATION = """
    CREATE TABLE busy (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text, n int);
    INSERT INTO busy (body) SELECT md5(n::text) FROM generate_series(1, 2000) AS n;
    CREATE TABLE changing (id int);"""
_STEPS = (
    "INSERT INTO busy (body) SELECT md5(random()::text) FROM generate_series(1, 20)",
    "UPDATE busy SET n = coalesce(n, 0) + 1 WHERE id % 50 = (random() * 49)::int",
    "DELETE FROM busy WHERE id % 97 = (random() * 96)::int",
    """
    BEGIN;
    ALTER TABLE changing ADD COLUMN more text;
    CREATE INDEX ON changing (more);
    CREATE TABLE passing AS SELECT generate_series(1, 10) AS n;
    COMMIT;
    DROP TABLE passing;
    ALTER TABLE changing DROP COLUMN more""",
    """
    DO $$
    BEGIN
        FOR n IN 1 .. 80 LOOP
            BEGIN
                INSERT INTO busy (body) VALUES ('sub ' || n);
                IF n % 3 = 0 THEN RAISE EXCEPTION 'taken back'; END IF;
            EXCEPTION WHEN raise_exception THEN NULL;
            END;
        END LOOP;
    END
    $$""",
)
