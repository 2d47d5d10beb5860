"""Rows of the cache that nobody can read any more go in small batches, each its own transaction.

Killed at any moment, a run leaves nothing behind but fewer rows; the next one goes on from there.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib.resources import files

import psycopg
from psycopg import errors

from ops_workflows.cache.burden import Observer, observing
from ops_workflows.cache.pace import FIRST_BATCH, Limits, Window, next_batch, to_rest, why_pause
from ops_workflows.cache.table import TableState, table_state, vacuum_if_it_pays
from ops_workflows.errors import RefusedError
from ops_workflows.postgres.connection import Connection, connect
from ops_workflows.progress import SILENT, Progress
from ops_workflows.settings import Settings

_KEY = 0x6F70735F7072756E  # “ops_prun”
_LOCK_PATIENCE_SECONDS = 5
_LOOK_SECONDS = 0.5  # between two looks at what the server bears
_POLL_SECONDS = 0.25
_HERE = files(__package__)
_PRUNABLE = _HERE.joinpath("prunable.sql").read_text().encode()
_BATCHES = {
    name: _HERE.joinpath(f"{name}.sql").read_text().encode()
    for name in ("expired", "unexpiring")
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PrunePlan:
    """What would go.

    Attributes:
        expired: Rows that have expired.
        unexpiring: Rows that never expire and are older than the limit.
        cutoffs: By these two names, the moment before which rows go.
        table: What the table holds.
    """

    expired: int
    unexpiring: int
    cutoffs: dict[str, datetime]
    table: TableState

    @property
    def rows(self) -> int:
        """All of them."""
        return self.expired + self.unexpiring


@dataclass(slots=True)
class Pruned:
    """What a run has done.

    Attributes:
        before: The table at its begin.
        after: At its end.
        rows: That went, by reason: expired, unexpiring.
        row_bytes: That these held, as stored.
        batches: How many, each a transaction.
        pauses: Seconds that it paused, by reason; of a reason with figures, as they were first.
        ended: Why it ended.
        vacuum: What was done about dead rows.
        seconds: How long all took.
        notes: What else deserves a sentence.
    """

    before: TableState
    after: TableState
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_BATCHES, 0))
    row_bytes: int = 0
    batches: int = 0
    pauses: dict[str, float] = field(default_factory=dict)
    ended: str = "nothing more to prune"
    vacuum: str = ""
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """All rows that went."""
        return sum(self.rows.values())


def plan_prune(settings: Settings) -> PrunePlan:
    """Count what would go, and delete nothing.

    Raises:
        ConfigurationError: OPS_UPKEEP_DSN is not set, or its database has no such table.
        DatabaseError: It cannot be reached, or fails.
        RefusedError: The server is a standby.
    """
    with _connected(settings) as connection:
        cutoffs = _cutoffs(connection, settings)
        state = table_state(connection)
        row = connection.execute(_PRUNABLE, cutoffs).fetchone()
        expired, unexpiring = row or (0, 0)
        return PrunePlan(expired, unexpiring, cutoffs, state)


def prune(settings: Settings, progress: Progress = SILENT) -> Pruned:
    """Delete rows that have expired, and rows without expiry that are older than the limit.

    Within OPS_PRUNE_MOST_SECONDS and OPS_PRUNE_MOST_ROWS; it pauses while the server bears too much, and ends if that
    does not pass in time.

    Raises:
        ConfigurationError: OPS_UPKEEP_DSN is not set, or its database has no such table.
        DatabaseError: It cannot be reached, or fails. What was deleted by then is gone, and nothing else.
        RefusedError: The server is a standby, or another run is at work.
    """
    began = time.monotonic()
    timeout = settings.connect_timeout_seconds
    with (
        _connected(settings) as connection,
        _alone(connection),
        observing(settings.require("upkeep_dsn"), timeout=timeout, receiver=settings.wal_application_name) as observer,
    ):
        state = table_state(connection)
        done = Pruned(state, state)
        progress.begin("pruning", None, "rows")
        deadline = began + settings.prune_most_seconds
        _Run(settings, connection, observer, done=done, progress=progress, deadline=deadline).run()
        longest = max(1, round(settings.prune_most_seconds))
        done.vacuum = vacuum_if_it_pays(connection, settings.prune_vacuum_fraction, longest)
        done.after = table_state(connection)
        done.seconds = time.monotonic() - began
        done.notes += [observer.blind] if observer.blind else []
    return done


class _Run:
    """One run: batch after batch, and pauses in between."""

    def __init__(
        self,
        settings: Settings,
        connection: Connection,
        observer: Observer,
        *,
        done: Pruned,
        progress: Progress,
        deadline: float,
    ) -> None:
        self._settings, self._connection, self._observer = settings, connection, observer
        self._done, self._progress, self._deadline = done, progress, deadline
        self._limits = _limits(settings)
        self._looked = -_LOOK_SECONDS
        self._size = FIRST_BATCH

    def run(self) -> None:
        for reason, before in _cutoffs(self._connection, self._settings).items():
            while (batch := self._room()) and self._may_go_on():
                deleted = self._delete(reason, before, batch)
                if deleted is not None and deleted < batch:
                    break
            else:
                return

    def _room(self) -> int:
        """How many rows the next batch may have; 0 ends the run, for what `ended` says."""
        most = self._settings.prune_most_rows
        left = most - self._done.total
        if left <= 0:
            self._done.ended = f"{most:,} rows are what one run may delete (OPS_PRUNE_MOST_ROWS)"
        elif time.monotonic() >= self._deadline:
            self._done.ended = self._out_of_time()
            return 0
        return max(0, min(self._size, left))

    def _may_go_on(self) -> bool:
        """Wait while the server bears too much; false if the time ran out over it."""
        if time.monotonic() - self._looked < _LOOK_SECONDS:
            return True
        said = ""
        while reason := why_pause(self._observer.look(), self._limits):
            if not said:
                said = reason
                self._progress.say(f"Pruning pauses: {reason}.")
            if not self._pause(said):
                self._done.ended = f"{self._out_of_time()}; the last pause: {reason}"
                return False
        self._looked = time.monotonic()
        return True

    def _pause(self, reason: str) -> bool:
        """A moment's pause; false if the time has run out."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            return False
        seconds = min(_POLL_SECONDS, left)
        time.sleep(seconds)
        self._done.pauses[reason] = self._done.pauses.get(reason, 0.0) + seconds
        return True

    def _delete(self, reason: str, before: datetime, batch: int) -> int | None:
        """One batch: how many rows went; None if the table was locked against us."""
        began = time.monotonic()
        try:
            row = self._connection.execute(_BATCHES[reason], {"before": before, "rows": batch}).fetchone()
        except errors.LockNotAvailable:
            self._pause("the table is locked")
            self._looked = -_LOOK_SECONDS
            return None
        deleted, size = row or (0, 0)
        seconds = time.monotonic() - began
        if deleted:
            self._size = next_batch(deleted, seconds, self._settings.prune_batch_seconds)
        self._done.rows[reason] += deleted
        self._done.row_bytes += size
        self._done.batches += bool(deleted)
        self._progress.advance(self._done.total)
        left = max(0.0, self._deadline - time.monotonic())
        time.sleep(min(to_rest(seconds, self._settings.prune_duty), left))
        return int(deleted)

    def _out_of_time(self) -> str:
        return f"{self._settings.prune_most_seconds:g} s are what one run may take (OPS_PRUNE_MOST_SECONDS)"


def _limits(settings: Settings) -> Limits:
    return Limits(
        canary_seconds=settings.prune_most_canary_ms / 1e3,
        lag_seconds=settings.prune_most_lag_seconds,
        lag_bytes=settings.prune_most_lag_bytes,
        slot_bytes=settings.prune_most_slot_bytes,
        window=Window.parse(settings.prune_pause_window) if settings.prune_pause_window else None,
    )


def _cutoffs(connection: Connection, settings: Settings) -> dict[str, datetime]:
    """Before which moment rows go, by the server's clock at the begin: what expires meanwhile is for the next run."""
    row = connection.execute("SELECT now()").fetchone()
    if row is None:
        raise AssertionError("a SELECT without FROM has one row")
    return {"expired": row[0], "unexpiring": row[0] - timedelta(days=settings.prune_unexpiring_days)}


@contextmanager
def _connected(settings: Settings) -> Iterator[Connection]:
    """The connection that deletes.

    Raises:
        RefusedError: The server is a standby.
    """
    with connect(
        settings.require("upkeep_dsn"),
        timeout=settings.connect_timeout_seconds,
        statement_seconds=settings.stall_seconds,
        application_name="ops cache prune",
    ) as connection:
        # A batch that waits for a lock on the table makes others wait behind it: it gives way, and tries again.
        connection.execute("SET lock_timeout = '250ms'")
        row = connection.execute("SELECT pg_is_in_recovery()").fetchone()
        if row and row[0]:
            raise RefusedError("OPS_UPKEEP_DSN names a standby, where nothing can be pruned: name the primary.")
        yield connection


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """Be the only one who prunes this database.

    Raises:
        RefusedError: Another run is at work, and still is after some seconds.
    """
    deadline = time.monotonic() + _LOCK_PATIENCE_SECONDS  # the server notices late that a run was killed
    while not _try(connection):
        if time.monotonic() > deadline:
            raise RefusedError(f"Another pruning of {connection.info.dbname} is at work: wait for it, or end it.")
        time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        with suppress(psycopg.Error):  # a lost connection has given its lock up already
            connection.execute("SELECT pg_advisory_unlock(%s)", [_KEY])


def _try(connection: Connection) -> bool:
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", [_KEY]).fetchone()
    return bool(row and row[0])
