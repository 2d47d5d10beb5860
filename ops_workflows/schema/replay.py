"""The application's traffic, sent to a database while something else happens to it: what waited, and what failed."""

import math
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from random import Random

import psycopg

from ops_workflows.errors import ConfigurationError, DatabaseError
from ops_workflows.postgres.connection import Connection, connect
from ops_workflows.schema.mix import Mix, Pools, Turn

APPLICATION_NAME = "ops rehearsal traffic"
_CONNECT_SECONDS, _STATEMENT_SECONDS = 5, 60
_CATCH_UP_SECONDS = (
    1.0  # what is overdue by more is left behind: who waited for a lock would otherwise flood the server
)
_CANCEL_SECONDS, _CANCEL_AGAIN_SECONDS = 5.0, 0.2


@dataclass(frozen=True, slots=True)
class Told:
    """What one statement of the mix went through in one span.

    Attributes:
        count: Executions that ran in it, if only in part.
        errors: Those of them that failed, each in the span that most of its time fell into.
        longest_seconds: Most that one of them took of it.
        first_error: PostgreSQL's name for the first failure and its first line; None without one.
    """

    count: int = 0
    errors: int = 0
    longest_seconds: float = 0.0
    first_error: str | None = None


class Replay:
    """What is known so far. Spans follow upon each other; what runs before the first is not told of."""

    def __init__(self, schedule: "_Schedule") -> None:
        self._schedule = schedule
        self._unseen = schedule.names
        self._spans: list[tuple[str, float]] = []
        self._told: dict[str, dict[str, Told]] = {}
        self._seen = threading.Condition()

    def span(self, name: str) -> None:
        """Begin a span, which ends the one before; every statement is sent in it once, and then by weight.

        Args:
            name: What it is called. The same name again goes on with the span.
        """
        with self._seen:
            self._unseen = self._schedule.names
            self._spans.append((name, time.monotonic()))
            self._told.setdefault(name, {})
        self._schedule.begin()

    @property
    def spans(self) -> Mapping[str, Mapping[str, Told]]:
        """Span by span, what each statement that ran in it went through; what still runs is not among it."""
        with self._seen:
            return {name: dict(told) for name, told in self._told.items()}

    def warm(self, seconds: float) -> bool:
        """Wait until every statement has run once in the present span, for so long at most.

        Returns:
            Whether they have.
        """
        with self._seen:
            return self._seen.wait_for(lambda: not self._unseen, seconds)

    def note(self, name: str, began: float, ended: float, error: str | None) -> None:
        """Take an execution in, by moments of the monotonic clock."""
        with self._seen:
            if not self._spans or began >= self._spans[-1][1]:
                self._unseen = self._unseen - {name}
                self._seen.notify_all()
            parts = shares(self._spans, began, ended)
            for span, seconds in parts.items():
                told = self._told[span].get(name, Told())
                self._told[span][name] = replace(
                    told, count=told.count + 1, longest_seconds=max(told.longest_seconds, seconds)
                )
            if error and parts:
                # Who has waited for a migration fails just after it, and was well just before it.
                span = max(parts, key=lambda each: parts[each])
                told = self._told[span][name]
                self._told[span][name] = replace(told, errors=told.errors + 1, first_error=told.first_error or error)


def shares(spans: Sequence[tuple[str, float]], began: float, ended: float) -> dict[str, float]:
    """Seconds of an execution by the spans that it ran in.

    Args:
        spans: Name and beginning of each, in order.
        began: When the execution began, on the same clock.
        ended: When it ended.
    """
    found: dict[str, float] = {}
    for (name, start), (_, end) in pairwise([*spans, ("", math.inf)]):
        seconds = min(ended, end) - max(began, start)
        if seconds > 0:
            found[name] = found.get(name, 0.0) + seconds
    return found


@contextmanager
def replaying(dsn: str, mix: Mix, *, rate: float, workers: int = 4) -> Iterator[Replay]:
    """Send the mix for the length of a `with`.

    Statements come due by the clock. Those for which no worker is free are late by a second at most, or left out.

    Args:
        dsn: The database, which is written to.
        mix: What to send; pg_stat_activity shows it under APPLICATION_NAME.
        rate: Statements per second, of all workers together.
        workers: Connections.

    Raises:
        ConfigurationError: `rate` or `workers` is not positive, or a sample cannot be read.
        DatabaseError: PostgreSQL is unreachable at the start.
    """
    if not 0 < rate < math.inf or workers < 1:
        raise ConfigurationError("Traffic needs a rate and a number of workers above zero.")
    with _connected(dsn) as connection:
        pools = mix.read_pools(connection)
    schedule = _Schedule(rate, pools)
    replay = Replay(schedule)
    threads = [_Worker(dsn, schedule, replay) for _ in range(workers)]
    try:
        for thread in threads:
            thread.start()
        yield replay
    finally:
        schedule.over.set()
        _end(threads)


class _Schedule:
    """What is due when; the workers share it."""

    def __init__(self, rate: float, pools: Pools) -> None:
        self.names = frozenset(statement.name for statement in pools.statements)
        self.over = threading.Event()
        self._rate, self._pools = rate, pools
        self._random = Random()  # noqa: S311 - a mix, no secret
        self._lock = threading.Lock()
        self._due = time.monotonic()
        self.begin()

    def begin(self) -> None:
        """Start anew, with every statement once."""
        with self._lock:
            self._turns = chain(self._pools.each(self._random), self._pools.draw(self._random))

    def next(self) -> Turn | None:
        """Wait until a statement is due, and take it; None at the end."""
        with self._lock:
            due = max(self._due, time.monotonic() - _CATCH_UP_SECONDS)
            self._due = due + 1 / self._rate
        if self.over.wait(max(0.0, due - time.monotonic())):
            return None
        with self._lock:
            return next(self._turns)


class _Worker(threading.Thread):
    """A connection that sends what is due, and a new one after it broke."""

    def __init__(self, dsn: str, schedule: _Schedule, replay: Replay) -> None:
        super().__init__(name=APPLICATION_NAME, daemon=True)
        self._dsn, self._schedule, self._replay = dsn, schedule, replay
        self._held = ExitStack()
        self._connection: Connection | None = None

    def run(self) -> None:
        with self._held:
            while (turn := self._schedule.next()) is not None:
                began = time.monotonic()
                error = self._send(turn)
                self._replay.note(turn[0].name, began, time.monotonic(), error)

    def cancel(self) -> None:
        """Break off what it sends."""
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.cancel_safe(timeout=1)

    def cut(self) -> None:
        """Take the connection from it, where the server does not react to anything."""
        if self._connection is not None:
            # Through a second descriptor, since libpq must not be used by two threads at once.
            with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(self._connection.fileno())) as wire:
                wire.shutdown(socket.SHUT_RDWR)

    def _send(self, turn: Turn) -> str | None:
        """Send a statement, on a new connection if need be: what went wrong, or None."""
        statement, values = turn
        try:
            if self._connection is None or self._connection.closed:
                self._held.close()
                self._connection = self._held.enter_context(_connected(self._dsn))
            self._connection.execute(statement.tagged.encode(), values)
        except (psycopg.Error, DatabaseError) as error:
            broken_off = isinstance(error, psycopg.OperationalError) and self._schedule.over.is_set()
            return None if broken_off else _first_line(error)
        return None


@contextmanager
def _connected(dsn: str) -> Iterator[Connection]:
    with connect(
        dsn,
        timeout=_CONNECT_SECONDS,
        statement_seconds=_STATEMENT_SECONDS,
        application_name=APPLICATION_NAME,
        client_encoding="utf8",
    ) as connection:
        # A prepared statement may fail for ever once its table is altered, whatever the application makes of that.
        connection.prepare_threshold = None
        yield connection


def _end(workers: Sequence[_Worker]) -> None:
    """Wait for the threads, and break off what they send."""
    deadline = time.monotonic() + _CANCEL_SECONDS
    # Again and again, for a cancellation that comes just before its statement is lost.
    while (alive := [worker for worker in workers if worker.is_alive()]) and time.monotonic() < deadline:
        for worker in alive:
            worker.cancel()
        alive[0].join(_CANCEL_AGAIN_SECONDS)
    for worker in alive:
        worker.cut()
    for worker in alive:
        worker.join(_CONNECT_SECONDS)


def _first_line(error: psycopg.Error | DatabaseError) -> str:
    """PostgreSQL's name for an error, and the first line of what was said."""
    cause = error if isinstance(error, psycopg.Error) else error.__cause__ or error.__context__
    said = (error.diag.message_primary if isinstance(error, psycopg.Error) else None) or str(error)
    return f"{type(cause or error).__name__}: {said.splitlines()[0]}"
