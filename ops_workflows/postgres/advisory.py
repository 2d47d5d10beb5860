"""Being the only one at some work: an advisory lock in the database itself, which dies with whoever holds it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg

from ops_workflows.errors import RefusedError
from ops_workflows.postgres.connection import Connection

_POLL_SECONDS = 0.2


@contextmanager
def alone(connection: Connection, key: int, what: str, patience_seconds: float) -> Iterator[None]:
    """Hold a lock for the length of a `with`.

    Args:
        connection: Outside a transaction; the lock ends with it at the latest.
        key: Of the lock: 64 bits, of which the sign is one.
        what: What is done under it, to be said to whoever comes second.
        patience_seconds: How long to wait for another; the server notices one that was killed only after a while.

    Raises:
        RefusedError: Another one holds it, and still does after that time.
    """
    deadline = time.monotonic() + patience_seconds
    # Polled, because a session that waits inside pg_advisory_lock() holds a snapshot that others wait for.
    while not _try(connection, key):
        if time.monotonic() > deadline:
            raise RefusedError(f"Another {what} of {connection.info.dbname} is at work: wait for it, or end it.")
        time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        with suppress(psycopg.Error):  # a lost connection has given its lock up already
            connection.execute("SELECT pg_advisory_unlock(%s)", [key])


def _try(connection: Connection, key: int) -> bool:
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", [key]).fetchone()
    return bool(row and row[0])
