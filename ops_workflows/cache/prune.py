"""Rows of the cache that nobody can read any more go in small batches, each its own transaction.

Killed at any moment, a run leaves nothing behind but fewer rows; the next one goes on from there.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib.resources import files

from psycopg import errors

from ops_workflows.cache.burden import Observer, observing
from ops_workflows.cache.pace import FIRST_BATCH, Limits, Window, next_batch, to_rest, vacuum_seconds, why_pause
from ops_workflows.cache.table import TABLE, Left, TableState, table_state, vacuum_if_it_pays, what_is_left
from ops_workflows.errors import DatabaseError, RefusedError
from ops_workflows.postgres.advisory import alone
from ops_workflows.postgres.connection import Connection, connect
from ops_workflows.progress import SILENT, Progress
from ops_workflows.settings import Settings

_KEY = 0x6F70735F7072756E  # “ops_prun”
_LOCK_PATIENCE_SECONDS = 5
_LOOK_SECONDS = 0.5  # between two looks at what the server bears
_POLL_SECONDS = 0.25
_MOST_IN_VAIN = 10  # batches in a row whose rows were all changed under them, before these are left to the next run
_HERE = files(__package__)
_PRUNABLE, _OTHERS = (_HERE.joinpath(f"{name}.sql").read_text().encode() for name in ("prunable", "others"))
_THROUGH = "nothing more to prune"
_FROM_THE_OLDEST = "-infinity"
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
        left: What is not touched, and deserves a look; None while somebody has the table to themselves.
    """

    expired: int
    unexpiring: int
    cutoffs: dict[str, datetime]
    table: TableState
    left: Left | None

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
        deleting_seconds: How long that took, with rests and pauses.
        in_time: Whether it ended of itself, and not because its time was up.
        stay: Rows that should have gone and are there; None while somebody has the table to themselves.
        vacuum: What was done about dead rows.
        vacuum_seconds: How long that took.
        seconds: How long all took.
        left: What was not touched, and deserves a look; None while somebody has the table to themselves.
        notes: What else deserves a sentence.
    """

    before: TableState
    after: TableState
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_BATCHES, 0))
    row_bytes: int = 0
    batches: int = 0
    pauses: dict[str, float] = field(default_factory=dict)
    ended: str = _THROUGH
    in_time: bool = True
    stay: int | None = None
    deleting_seconds: float = 0.0
    vacuum: str = ""
    vacuum_seconds: float = 0.0
    seconds: float = 0.0
    left: Left | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """All rows that went."""
        return sum(self.rows.values())

    @property
    def in_vain(self) -> bool:
        """Whether it was held up all the time, and nothing has come of it although there was something to do."""
        return not (self.in_time or self.total or self.stay == 0)


def plan_prune(settings: Settings) -> PrunePlan:
    """Count what would go, and delete nothing.

    Raises:
        ConfigurationError: OPS_UPKEEP_DSN is not set, or its database has no such table.
        DatabaseError: It cannot be reached, or fails, or somebody has the table to themselves.
        RefusedError: The server is a standby.
    """
    with _connected(settings) as connection:
        cutoffs = _cutoffs(connection, settings)
        state = table_state(connection)
        if (counted := _prunable(connection, cutoffs)) is None:
            raise DatabaseError(
                f"What would go cannot be counted: a session has {TABLE} of {connection.info.dbname} to itself. "
                "To do: wait until it has finished; pg_locks names it."
            )
        expired, unexpiring = counted
        return PrunePlan(expired, unexpiring, cutoffs, state, what_is_left(connection, settings.prune_far_days))


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
        alone(connection, _KEY, "pruning", _LOCK_PATIENCE_SECONDS),
        observing(
            settings.require("upkeep_dsn"),
            timeout=timeout,
            receiver=settings.wal_application_name,
            say=progress.say,
        ) as observer,
    ):
        state = table_state(connection)
        done = Pruned(state, state)
        progress.begin("pruning", None, "rows")
        deadline = began + settings.prune_most_seconds
        cutoffs = _cutoffs(connection, settings)
        _Run(settings, connection, observer, done=done, progress=progress, deadline=deadline).run(cutoffs)
        done.deleting_seconds = time.monotonic() - began
        _vacuum(settings, connection, done, deadline - time.monotonic())
        done.after = table_state(connection)
        done.left = what_is_left(connection, settings.prune_far_days)
        _look_back(connection, cutoffs, done)
        done.seconds = time.monotonic() - began
        done.notes += [*([observer.blind] if observer.blind else []), *observer.lost.values()]
    return done


def _look_back(connection: Connection, cutoffs: dict[str, datetime], done: Pruned) -> None:
    """Count what should have gone and is there, and say so."""
    counted = _prunable(connection, cutoffs)
    done.stay = None if counted is None else sum(counted)
    if done.ended == _THROUGH and done.stay:
        done.ended = f"{done.stay:,} rows that were locked or changed meanwhile stay, and nothing more is to prune"
    elif done.in_vain:
        rows = (
            "nothing could be deleted, and what should go stays"
            if done.stay is None
            else (f"nothing could be deleted, and {done.stay:,} rows that should go stay")
        )
        done.ended = f"{rows}: {done.ended}"


def _prunable(connection: Connection, cutoffs: dict[str, datetime]) -> tuple[int, int] | None:
    """How many rows should go, by reason; None while somebody has the table to themselves."""
    try:
        row = connection.execute(_PRUNABLE, cutoffs).fetchone()
    except errors.LockNotAvailable:
        return None
    if row is None:
        raise AssertionError("the query has one row whatever the table holds")
    return int(row[0]), int(row[1])


def _vacuum(settings: Settings, connection: Connection, done: Pruned, left_seconds: float) -> None:
    """Vacuum if it pays: as autovacuum does by default while others are at work, and at full speed when nobody is."""
    began = time.monotonic()
    connection.execute("SELECT set_config('vacuum_cost_delay', %s, false)", ["2ms" if _others(connection) else "0"])
    done.vacuum = vacuum_if_it_pays(connection, settings.prune_vacuum_fraction, vacuum_seconds(left_seconds))
    connection.execute("SELECT set_config('statement_timeout', %s, false)", [f"{settings.stall_seconds}s"])
    done.vacuum_seconds = time.monotonic() - began


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
        self._duty = settings.prune_duty
        self._after = _FROM_THE_OLDEST

    def run(self, cutoffs: dict[str, datetime]) -> None:
        for reason, before in cutoffs.items():
            in_vain = 0
            while (batch := self._room()) and self._may_go_on():
                if (went := self._delete(reason, before, batch)) is None:
                    continue
                deleted, picked = went
                in_vain = 0 if deleted else in_vain + 1
                # Locked rows are not picked, so that they do not keep us; rows that were changed meanwhile are.
                if (picked < batch and deleted == picked) or in_vain >= _MOST_IN_VAIN:
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
            self._end_in_want_of_time()
            return 0
        return max(0, min(self._size, left))

    def _may_go_on(self) -> bool:
        """Wait while the server bears too much; false if the time ran out over it."""
        if time.monotonic() - self._looked < _LOOK_SECONDS:
            return True
        said, since = "", time.monotonic()
        while reason := why_pause(self._observer.look(), self._limits):
            if not said:
                said = reason
                self._progress.say(f"Pruning pauses: {reason}.")
            # To wait for a canary that does not come back is to pause, too.
            since, left = self._pause(said, since)
            if not left:
                self._end_in_want_of_time(f"; the last pause: {reason}")
                return False
        if said:
            self._count(said, since)
        # Nobody to rest for is looked for as often as what speaks against going on.
        self._duty = self._settings.prune_duty if _others(self._connection) else 1.0
        self._looked = time.monotonic()
        return True

    def _pause(self, reason: str, since: float) -> tuple[float, bool]:
        """A moment's pause, counted from `since`: until when that is, and whether there was time for it."""
        left = self._deadline - time.monotonic()
        if left > 0:
            time.sleep(min(_POLL_SECONDS, left))
        return self._count(reason, since), left > 0

    def _count(self, reason: str, since: float) -> float:
        """Count as a pause what has passed since; until when that is."""
        now = time.monotonic()
        self._done.pauses[reason] = self._done.pauses.get(reason, 0.0) + now - since
        return now

    def _delete(self, reason: str, before: datetime, batch: int) -> tuple[int, int] | None:
        """One batch: how many rows went, and were picked; None if the table was locked against us."""
        began = time.monotonic()
        try:
            values = {"before": before, "after": self._after, "rows": batch}
            row = self._connection.execute(_BATCHES[reason], values).fetchone()
        except errors.LockNotAvailable:
            self._pause("the table is locked", began)
            self._looked = -_LOOK_SECONDS
            return None
        deleted, size, reached, picked = row or (0, 0, None, 0)
        if deleted == picked:  # else what was changed meanwhile lies before where it ended
            self._after = reached or self._after
        seconds = time.monotonic() - began
        if deleted:
            self._size = next_batch(deleted, seconds, self._settings.prune_batch_seconds)
        self._done.rows[reason] += deleted
        self._done.row_bytes += size
        self._done.batches += bool(deleted)
        self._progress.advance(self._done.total)
        left = max(0.0, self._deadline - time.monotonic())
        time.sleep(min(to_rest(seconds, self._duty), left))
        return int(deleted), int(picked)

    def _end_in_want_of_time(self, more: str = "") -> None:
        self._done.in_time = False
        most = f"{self._settings.prune_most_seconds:g} s"
        self._done.ended = f"{most} are what one run may take (OPS_PRUNE_MOST_SECONDS){more}"


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
        # After a crash, rows of the last moment are there once more, and go with the next run: so no batch waits for
        # the disk, and no commit of the application's waits behind it.
        connection.execute("SET synchronous_commit = off")
        row = connection.execute("SELECT pg_is_in_recovery()").fetchone()
        if row and row[0]:
            raise RefusedError("OPS_UPKEEP_DSN names a standby, where nothing can be pruned: name the primary.")
        yield connection


def _others(connection: Connection) -> bool:
    """Whether anybody else was at work on the server in the last second."""
    row = connection.execute(_OTHERS).fetchone()
    return row is None or bool(row[0])
