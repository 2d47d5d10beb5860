"""One dump of a cluster at a time; a base backup may run beside it. The lock dies with whoever holds it."""

from collections.abc import Iterator
from contextlib import contextmanager

from ops_workflows.backup.lock import stay
from ops_workflows.errors import RefusedError
from ops_workflows.postgres.connection import Connection
from ops_workflows.postgres.processes import wait_until

_KEY = 0x6F70735F64756D70  # “ops_dump”
# The server notices a client that was killed only when it next writes to it or reads from it; that may take a moment.
_PATIENCE_SECONDS = 15


@contextmanager
def dump_lock(connection: Connection) -> Iterator[None]:
    """Hold the lock for the length of a `with`, however long its session idles; it ends with the connection at last.

    Raises:
        RefusedError: Another dump holds it, and still does after some seconds.
    """

    def taken() -> bool:
        row = connection.execute("SELECT pg_try_advisory_lock(%s)", [_KEY]).fetchone()
        return bool(row and row[0])

    stay(connection)
    if not wait_until(taken, _PATIENCE_SECONDS):
        raise RefusedError("Another dump of this cluster is running: wait until it has ended, see pg_stat_activity.")
    yield
    # Not after an error: the server may be what fell silent, and the lock ends with the connection all the same.
    connection.execute("SELECT pg_advisory_unlock(%s)", [_KEY])
