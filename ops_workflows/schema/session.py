"""The one connection that migrates: direct, on the primary, with timeouts, and alone behind golang-migrate's locks."""

import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg

from ops_workflows.errors import RefusedError
from ops_workflows.postgres.connection import Connection, connect

_SALT = 1486364155
_POLL_SECONDS = 0.2
# Of the role or the database, they would cut a migration off in its middle; not every server has each of them.
_WITHOUT_THESE_TIMEOUTS = """
    SELECT set_config(name, '0', false) FROM pg_settings
    WHERE name IN ('transaction_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout')"""
_HOLDERS = (Path(__file__).parent / "lock_holders.sql").read_text()


@dataclass(frozen=True)
class Patience:
    """How long a migration waits for what, in seconds."""

    connect: int = 10
    other_migration: float = 15
    table_lock: float = 2
    """A statement that waits for a lock makes every later query on that table queue behind it: keep this short."""
    locks: float = 120
    """How long an attempt that did not get its locks is made again, a little later each time."""
    statement: int = 3600


DEFAULT_PATIENCE = Patience()


def lock_ids(database: str, schema: str, table: str) -> tuple[int, int]:
    """The advisory locks that golang-migrate takes: its program's, which calls the database `/name`, and its library's.

    Holding both keeps out either.
    """

    def lock_id(name: str) -> int:
        return zlib.crc32("\0".join((schema, table, name)).encode()) * _SALT % 2**32

    return lock_id(f"/{database}"), lock_id(database)


@contextmanager
def connected(dsn: str, patience: Patience = DEFAULT_PATIENCE) -> Iterator[Connection]:
    """A connection in autocommit whose statements and lock waits end in time.

    Raises:
        DatabaseError: PostgreSQL is unreachable or refuses us, or is lost on the way.
    """
    with connect(
        dsn,
        timeout=patience.connect,
        statement_seconds=patience.statement,
        application_name="ops migrate",
        client_encoding="utf8",
    ) as connection:
        connection.execute("select set_config('lock_timeout', %s, false)", (f"{round(patience.table_lock * 1000)}ms",))
        connection.execute(_WITHOUT_THESE_TIMEOUTS)
        # Without it, the statement of a run that was killed goes on, and holds all its locks, until it is through.
        connection.execute("set client_connection_check_interval = '1s'")
        yield connection


@contextmanager
def exclusive(connection: Connection, schema: str, table: str, patience: Patience) -> Iterator[None]:
    """Be the only one who migrates this database, golang-migrate included.

    Raises:
        RefusedError: Another migration holds the locks longer than we wait, a connection pooler is in between, or the
            server is a standby.
    """
    _expect_direct_primary(connection)
    wanted = lock_ids(connection.info.dbname, schema, table)
    deadline = time.monotonic() + patience.other_migration
    while not _try(connection, wanted):
        if time.monotonic() >= deadline:
            raise RefusedError(
                f"Another migration of {connection.info.dbname} holds its lock for more than "
                f"{patience.other_migration:g} s{_holders(connection, wanted)}: wait for it, or end it if it is stuck."
            )
        # Polled, because a session that waits inside pg_advisory_lock() deadlocks with CREATE INDEX CONCURRENTLY.
        time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        # A lost connection has given up its locks already.
        with suppress(psycopg.OperationalError):
            _release(connection, wanted)


def _try(connection: Connection, wanted: tuple[int, ...]) -> bool:
    """Take all the locks or none."""
    held: list[int] = []
    for lock in wanted:
        row = connection.execute("select pg_try_advisory_lock(%s::bigint)", (lock,)).fetchone()
        if row is None or not row[0]:
            _release(connection, tuple(held))
            return False
        held.append(lock)
    return True


def _release(connection: Connection, held: tuple[int, ...]) -> None:
    for lock in reversed(held):
        connection.execute("select pg_advisory_unlock(%s::bigint)", (lock,))


def _holders(connection: Connection, wanted: tuple[int, ...]) -> str:
    rows = connection.execute(_HOLDERS, {"locks": list(wanted)}).fetchall()
    who = ", ".join(f"process {pid} “{name}” since {since:%H:%M:%S} UTC" for pid, name, since in rows)
    return f" ({who})" if who else ""


def _expect_direct_primary(connection: Connection) -> None:
    row = connection.execute("select pg_is_in_recovery(), pg_backend_pid()").fetchone()
    standby, process = row or (False, None)
    if standby:
        raise RefusedError("The server is a standby, which cannot be migrated: connect to the primary.")
    if process != connection.info.backend_pid:
        raise RefusedError(
            "A connection pooler stands between us and PostgreSQL, and would lose the lock that keeps two migrations "
            "apart: connect to PostgreSQL itself."
        )
