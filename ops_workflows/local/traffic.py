"""Steady traffic on the application's database, and the heartbeat from which RPO is read."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Protocol

import psycopg

from ops_workflows.errors import ConfigurationError, DatabaseError, RefusedError
from ops_workflows.local.traffic_tally import Tally, TrafficReport
from ops_workflows.postgres.connection import Connection, connect
from ops_workflows.schema.mix import Mix, Turn, parse_mix, read_mix
from ops_workflows.settings import Settings

_LATE = Path(__file__).parent / "traffic_late.sql"
_DEFAULT = Path(__file__).parents[2] / "deploy/traffic.sql"
_HEARTBEAT = "insert into ops.heartbeat (sender) values ('traffic')"
_HEARTBEAT_SECONDS = _REPORT_SECONDS = 1.0
_STATEMENT_SECONDS = 5
_FIRST_BACKOFF, _LONGEST_BACKOFF = 0.1, 2.0

type Report = Callable[[TrafficReport], None]


def traffic(
    settings: Settings,
    *,
    rate: float,
    late: float = 0,
    seconds: float | None = None,
    stop: threading.Event | None = None,
    report: Report | None = None,
) -> TrafficReport:
    """Send `rate` statements per second, reads and writes mixed, and a heartbeat each second on a second connection.

    Statements come due by the clock, whether or not earlier ones are done. A lost server is an error to count and a
    reason to connect again, not an end; what came due meanwhile is missed.

    Args:
        settings: `owner_dsn` for the statements, `upkeep_dsn` for the heartbeats.
        rate: Statements per second.
        late: Share of them, 0 to 1, that log a query of an earlier time, up to two years ago.
        seconds: How long. Default: until `stop` or an interrupt, which both end it cleanly.
        stop: Ends it from another thread.
        report: Hears once a second how things stand.

    Raises:
        ConfigurationError: A DSN is not set, `rate` or `seconds` is not positive and finite, `late` is no share, or
            OPS_TRAFFIC_FILE cannot be used.
        RefusedError: The schema is not there.
        DatabaseError: PostgreSQL is unreachable at the start.
    """
    if not 0 < rate < math.inf or (seconds is not None and not 0 < seconds < math.inf):  # neither may be NaN, either
        raise ConfigurationError("Traffic needs a rate and a length that are numbers above zero.")
    if not 0 <= late <= 1:
        raise ConfigurationError("The share of late queries is a number from 0 to 1.")
    timeout = settings.connect_timeout_seconds
    owner, upkeep = settings.require("owner_dsn"), settings.require("upkeep_dsn")
    mix = _mix(settings.traffic_file)
    # Whoever starts traffic wants to hear at once that it cannot work, rather than to see errors being counted.
    with connect(owner, timeout=timeout) as connection, connect(upkeep, timeout=timeout):
        _expect_tables(connection)
        random = Random()  # noqa: S311 - a mix, no secret
        turns = mix.read_pools(connection).draw(random)
        if late:
            turns = _mixed(turns, _late_queries(connection, random), late, random)

    tally, over = Tally(), threading.Event()
    deadline = time.monotonic() + seconds if seconds else math.inf
    stream = _Stream(_Until(stop or threading.Event(), deadline), rate, turns, tally, report)
    pulse = _Pulse(_Until(over), tally)
    beat = threading.Thread(target=_persist, args=(upkeep, timeout, pulse), name="heartbeat", daemon=True)
    beat.start()
    try:
        _persist(owner, timeout, stream)
    except KeyboardInterrupt:
        pass  # the ordinary way to end traffic at a terminal
    finally:
        over.set()
        beat.join(timeout + _STATEMENT_SECONDS)
        stream.skip()
    return tally.report()


def _mix(file: Path) -> Mix:
    """The mix that the settings name; in a folder without it, this project's own."""
    found = read_mix(file)
    if found is None and file == Settings.model_fields["traffic_file"].default:
        found = read_mix(_DEFAULT)
    if found is None:
        raise ConfigurationError(f"There is no {file} to take the traffic from: correct OPS_TRAFFIC_FILE.")
    return found


def _late_queries(connection: Connection, random: Random) -> Iterator[Turn]:
    return parse_mix(_LATE.read_text(encoding="utf-8"), str(_LATE)).read_pools(connection).draw(random)


def _mixed(ordinary: Iterator[Turn], others: Iterator[Turn], share: float, random: Random) -> Iterator[Turn]:
    while True:
        yield next(others if random.random() < share else ordinary)


def _expect_tables(connection: Connection) -> None:
    there = connection.execute("select to_regclass('query_log'), to_regclass('ops.heartbeat')").fetchone()
    if there is None or None in there:
        raise RefusedError("The tables that traffic goes to are not there: run `ops migrate up` first.")


@dataclass(frozen=True)
class _Until:
    """When to end: at an event or a moment of the monotonic clock, whichever is first."""

    event: threading.Event
    deadline: float = math.inf

    def over(self) -> bool:
        return self.event.is_set() or time.monotonic() >= self.deadline

    def wait(self, seconds: float) -> None:
        self.event.wait(max(0.0, min(seconds, self.deadline - time.monotonic())))


class _Sender(Protocol):
    until: _Until

    def send(self, connection: Connection) -> None:
        """Work on this connection until the end, or until it breaks."""

    def lost(self, name: str) -> None:
        """Hear that there is no connection, by the name of the error."""


def _persist(dsn: str, timeout: int, sender: _Sender) -> None:
    """Give `sender` a connection, and a new one after each that broke, ever less hastily, until its end."""
    backoff = _FIRST_BACKOFF
    while not sender.until.over():
        try:
            with connect(
                dsn,
                timeout=timeout,
                statement_seconds=_STATEMENT_SECONDS,
                application_name="ops traffic",
                client_encoding="utf8",
            ) as connection:
                backoff = _FIRST_BACKOFF
                sender.send(connection)
        except DatabaseError as error:
            sender.lost(type(error.__cause__ or error.__context__ or error).__name__)
            sender.until.wait(backoff)
            backoff = min(2 * backoff, _LONGEST_BACKOFF)


@dataclass
class _Stream:
    """The statements, each due at its moment."""

    until: _Until
    rate: float
    turns: Iterator[Turn]
    tally: Tally
    report: Report | None
    due: float = math.inf  # until there is a connection
    report_due: float = field(default_factory=time.monotonic)

    def send(self, connection: Connection) -> None:
        if self.due == math.inf:
            self.due = time.monotonic()
        else:
            self.tally.add("reconnects")
            self.skip()
        while not self.until.over():
            self._report()
            now = time.monotonic()
            if now < self.due:
                self.until.wait(min(self.due, self.report_due) - now)
                continue
            due, self.due = self.due, self.due + 1 / self.rate
            statement, values = next(self.turns)
            try:
                connection.execute(statement.tagged.encode(), values)
            except psycopg.Error as error:
                if connection.closed:
                    raise
                self.tally.fail(type(error).__name__)
            else:
                self.tally.took(time.monotonic() - due)
                self.tally.add("writes" if statement.writes else "reads")

    def lost(self, name: str) -> None:
        self.tally.fail(name)
        self._report()

    def skip(self) -> None:
        """Leave behind what is overdue."""
        late = min(time.monotonic(), self.until.deadline) - self.due
        if late > 0:
            overdue = int(late * self.rate)
            self.tally.add("missed", overdue)
            self.due += overdue / self.rate

    def _report(self) -> None:
        if self.report and time.monotonic() >= self.report_due:
            self.report_due = time.monotonic() + _REPORT_SECONDS
            self.report(self.tally.report())


@dataclass
class _Pulse:
    """The heartbeats."""

    until: _Until
    tally: Tally

    def send(self, connection: Connection) -> None:
        while not self.until.over():
            began = time.monotonic()
            connection.execute(_HEARTBEAT)
            self.tally.add("heartbeats")
            self.until.wait(_HEARTBEAT_SECONDS - (time.monotonic() - began))

    def lost(self, name: str) -> None:
        self.tally.fail(f"heartbeat {name}")
