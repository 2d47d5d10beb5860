"""What the server bears while rows are pruned, asked in a session of its own, apart from the batches."""

import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib.resources import files

from psycopg import errors

from ops_workflows.cache.pace import Burden
from ops_workflows.postgres.connection import Connection, connect

_BURDEN = files(__package__).joinpath("burden.sql").read_text().encode()
_CANARY = b"SELECT data FROM public.panchangam_cache WHERE cache_key = %s AND expires_at > now()"
_HIDDEN = (
    "How far the standbys are behind is hidden from this role, and pruning does not pause for it: "
    "run GRANT pg_read_all_stats TO that role, as deploy/postgres/roles.sql does."
)


class Observer:
    """Looks at the server from a session of its own.

    Attributes:
        blind: What it cannot see, as a sentence; empty if it sees all.
        lost: By standby that was there and is not any more, a sentence about it.
    """

    def __init__(self, connection: Connection, receiver: str, say: Callable[[str], None]) -> None:
        """Prepare to look.

        Args:
            connection: Its session.
            receiver: Name in pg_stat_replication of our own receiver of the log, which is no standby.
            say: Hears of standbys that go away.
        """
        self.blind = ""
        self.lost: dict[str, str] = {}
        self._connection, self._receiver, self._say = connection, receiver, say
        self._standbys: Counter[str] = Counter()

    def look(self) -> Burden:
        """What the server bears now, the canary query's time included."""
        canary = self._canary()
        row = self._connection.execute(_BURDEN, {"receiver": self._receiver}).fetchone()
        if row is None:
            raise AssertionError("the query has one row whatever the server bears")
        at, replica, lag_seconds, lag_bytes, slot, slot_bytes, maintained, hidden, standbys, unarchived = row
        self.blind = _HIDDEN if hidden else ""
        self._miss(Counter(standbys), at)
        return Burden(at, canary, replica, lag_seconds, lag_bytes, slot, slot_bytes, maintained, unarchived)

    def _miss(self, standbys: Counter[str], at: datetime) -> None:
        """Say which standbys have gone since the last look: how far behind these are, nobody knows any more."""
        for name in self._standbys - standbys:
            said = (
                f"The standby {name} is gone since {at:%H:%M:%S} UTC: pruning goes on, "
                "and pauses only once the slot keeps too much of the log for it."
            )
            self.lost.setdefault(name, said)
            self._say(said)
        self._standbys = standbys

    def _canary(self) -> float | None:
        """Seconds that the application's own query for a key takes; the key is none that it has."""
        began = time.monotonic()
        try:
            self._connection.execute(_CANARY, [f"ops:canary:{secrets.token_hex(8)}"])
        except errors.QueryCanceled:
            return None
        return time.monotonic() - began


@contextmanager
def observing(
    dsn: str, *, timeout: int, receiver: str, say: Callable[[str], None], patience_seconds: int = 2
) -> Iterator[Observer]:
    """An observer for the length of a `with`.

    Args:
        dsn: Of the role for upkeep, to the primary.
        timeout: Seconds to connect in.
        receiver: Name in pg_stat_replication of our own receiver of the log.
        say: Hears of standbys that go away.
        patience_seconds: After which a query is given up, and taken for slow.

    Raises:
        DatabaseError: The server cannot be reached, or is lost.
    """
    with connect(
        dsn, timeout=timeout, statement_seconds=patience_seconds, application_name="ops cache observer"
    ) as connection:
        yield Observer(connection, receiver, say)
