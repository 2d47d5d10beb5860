"""The state of one database that is dumped: a snapshot that others can read too, and tables that stay as they are."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from psycopg import errors, sql
from psycopg.rows import args_row

from ops_workflows.errors import DatabaseError, RefusedError
from ops_workflows.postgres.connection import Connection
from ops_workflows.postgres.fingerprint import Table, settle, tables
from ops_workflows.postgres.logical import LOCK_SECONDS

_ATTEMPTS = 3
_STATE = """
    SELECT pg_export_snapshot(), pg_current_snapshot()::text, now(),
        pg_database_size(current_database()), current_setting('server_encoding')"""


@dataclass(frozen=True, slots=True)
class Pinned:
    """A state that lasts as long as the transaction it was taken in.

    Attributes:
        exported: Its name for other sessions.
        snapshot: What it sees, as a pg_snapshot.
        taken_at: When it was, by the server's clock.
        database_bytes: Size of the database.
        encoding: PostgreSQL's name of the database's.
        tables: The tables in it, which nobody can drop, alter or truncate meanwhile.
    """

    exported: str
    snapshot: str
    taken_at: datetime
    database_bytes: int
    encoding: str
    tables: list[Table]


@contextmanager
def pinned(connection: Connection) -> Iterator[Pinned]:
    """The present state of the database, for the length of a `with`.

    Raises:
        RefusedError: The role may not read all of it.
        DatabaseError: A table is locked against reading, or tables come and go too fast.
    """
    settle(connection)
    yield _pin(connection)
    connection.execute("COMMIT")


def _pin(connection: Connection) -> Pinned:
    for _ in range(_ATTEMPTS):
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        found = tables(connection)
        _refuse_hidden(connection, found)
        try:
            _lock(connection, found)
        except errors.UndefinedTable:  # dropped between the snapshot and the lock: a newer snapshot knows
            connection.execute("ROLLBACK")
            continue
        with connection.cursor(row_factory=args_row(partial(Pinned, tables=found))) as cursor:
            if state := cursor.execute(_STATE).fetchone():
                return state
    raise DatabaseError(
        f"Tables of database {connection.info.dbname} are dropped faster than they can be locked: try at a quieter "
        "time."
    )


def _lock(connection: Connection, found: list[Table]) -> None:
    if not found:
        return
    every = sql.SQL(", ").join(sql.SQL("ONLY ") + sql.SQL(table.quoted) for table in found)
    connection.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
    try:
        connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(every))
    except errors.LockNotAvailable:
        raise DatabaseError(
            f"A table of database {connection.info.dbname} was locked against reading for {LOCK_SECONDS} seconds: see "
            "pg_locks for who holds an ACCESS EXCLUSIVE lock, and try again."
        ) from None
    except errors.InsufficientPrivilege as error:
        role, reason = connection.info.user, error.diag.message_primary
        raise RefusedError(
            f"Role {role} may not read all of database {connection.info.dbname} ({reason}): "
            f"GRANT pg_read_all_data TO {role}, or see deploy/postgres/roles.sql."
        ) from None


def _refuse_hidden(connection: Connection, found: list[Table]) -> None:
    if hidden := [table.quoted for table in found if table.hidden]:
        role = connection.info.user
        raise RefusedError(
            f"Row security keeps rows of {', '.join(hidden)} in database {connection.info.dbname} from role {role}, "
            f"and a dump without them is none: ALTER ROLE {role} BYPASSRLS."
        )
