"""One backup of a cluster at a time: an advisory lock in the cluster itself, which dies with whoever holds it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
from psycopg import sql

from ops_workflows.errors import RefusedError
from ops_workflows.postgres.connection import Connection

_KEY = 0x6F70735F62617365  # “ops_base”
# The server notices a client that was killed only when it next writes to it or reads from it; that may take a moment.
_PATIENCE_SECONDS = 15
_POLL_SECONDS = 0.2

_HOLDER = """
    SELECT format('process %%s (%%s) since %%s', a.pid, a.application_name, date_trunc('second', a.backend_start))
    FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
      AND l.classid = (%(key)s >> 32)::oid AND l.objid = (%(key)s & 4294967295)::oid"""

# Setting -> since which version of PostgreSQL.
_TIMEOUTS = {
    "idle_in_transaction_session_timeout": 90_600,
    "idle_session_timeout": 140_000,
    "transaction_timeout": 170_000,
}


def stay(connection: Connection) -> None:
    """Keep the server from ending this session for idling, or for how long its transaction lasts."""
    for name, since in _TIMEOUTS.items():
        if connection.info.server_version >= since:
            connection.execute(sql.SQL("SET {} = 0").format(sql.Identifier(name)))


@contextmanager
def backup_lock(connection: Connection) -> Iterator[None]:
    """Hold the lock for the length of a `with`; it ends with the connection at the latest.

    The session may idle meanwhile, for as long as a backup takes: no timeout of the server's takes the lock from it.

    Raises:
        RefusedError: Another backup holds it, and still does after some seconds.
    """
    stay(connection)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        row = connection.execute("SELECT pg_try_advisory_lock(%s)", [_KEY]).fetchone()
        if row and row[0]:
            break
        if time.monotonic() > deadline:
            holder = connection.execute(_HOLDER, {"key": _KEY}).fetchone()
            raise RefusedError(
                f"Another backup of this cluster is running: {holder[0] if holder else 'unknown'}. Wait."
            )
        time.sleep(_POLL_SECONDS)
    yield
    # Not after an error: the server may be what fell silent. And where it has gone by now, the lock has gone with the
    # connection: work that is done is not undone by that.
    with suppress(psycopg.Error):
        connection.execute("SELECT pg_advisory_unlock(%s)", [_KEY])
