"""The server as the role that backs up sees it: one connection, and all that it tells of itself."""

from collections.abc import Iterator
from functools import partial
from importlib.resources import files
from typing import Any

from psycopg.rows import class_row

from ops_workflows.errors import DatabaseError
from ops_workflows.health import replication, sessions, state
from ops_workflows.health.evidence import sight
from ops_workflows.health.probe import Budget, Probe, Seen
from ops_workflows.health.reading import Check, Reading, Severity, Threshold, critical, measured, unknown, warning
from ops_workflows.health.session import hurried
from ops_workflows.health.thresholds import Thresholds
from ops_workflows.postgres.connection import Connection, describe

_AS_STANDBY = files(__package__).joinpath("as_standby.sql").read_text().encode()


def server(dsn: str, way: str, slot: str, thresholds: Thresholds, *, has_standby: bool) -> Probe:
    """The probe of the primary.

    Args:
        dsn: Of a role with pg_monitor.
        way: The setting that has it.
        slot: Of the receiver of the log, which is no standby.
        thresholds: From where on something is trouble.
        has_standby: Whether there has to be one.
    """
    checks = (*sessions.CHECKS, *replication.CHECKS, *state.CHECKS)
    look = partial(_look, dsn, way, slot, thresholds, has_standby=has_standby)
    return Probe("server", describe(dsn), checks, look)


def _look(dsn: str, way: str, slot: str, limits: Thresholds, budget: Budget, *, has_standby: bool) -> Iterator[Seen]:
    with hurried(dsn, budget) as connection:
        yield sight(connection, way)
        active = _one(connection, sessions.Activity, sessions.ACTIVITY)
        yield from sessions.judge(active, limits.connections, limits.idle, limits.transaction, limits.blocked)
        found = _all(connection, replication.Standby, replication.STANDBYS, slot=slot)
        yield from replication.judge_standbys(
            found, expected=has_standby, in_bytes=limits.lag_bytes, in_seconds=limits.lag_seconds
        )
        yield replication.judge_slots(_all(connection, replication.Slot, replication.SLOTS), limits.slot_bytes)
        yield from state.judge(_one(connection, state.State, state.STATE), limits.age, limits.deadlocks)


def standby(dsn: str, way: str, lag: Threshold) -> Probe:
    """The probe of a standby, for a role with pg_monitor."""
    return Probe("standby", describe(dsn), [Check.STANDBY], partial(_look_at_standby, dsn, way, lag), Severity.CRITICAL)


def _look_at_standby(dsn: str, way: str, lag: Threshold, budget: Budget) -> Iterator[Seen]:
    with hurried(dsn, budget) as connection:
        yield sight(connection, way)
        row = connection.execute(_AS_STANDBY).fetchone()
        if row is None:
            raise DatabaseError("The standby does not say how it is.")
        yield judge_standby(*row, lag=lag)


def judge_standby(
    is_standby: bool,
    paused: bool | None,
    receiver: str | None,
    seconds: float | None,
    *,
    lag: Threshold,
) -> Reading:
    """What a row of as_standby.sql comes to."""
    check = Check.STANDBY
    if not is_standby:
        return critical(check, "It is no standby: it accepts writes.", "see who promoted it; see one_primary")
    if paused:
        return warning(check, "Its replay is paused.", "SELECT pg_wal_replay_resume(), if nobody needs the pause")
    if receiver != "streaming":
        do = "see its log; clone it anew if it cannot follow"
        return critical(check, "It does not stream from the primary.", do, seconds, "s")
    if seconds is None:
        return unknown(check, "It streams, and does not say how far it is.")
    said = f"It streams, and what it has received is replayed up to {seconds:.3f} s ago."
    return measured(check, round(seconds, 3), "s", lag, said=said, do="see what holds up its replay")


def _one[Row](connection: Connection, kind: type[Row], query: bytes) -> Row:
    with connection.cursor(row_factory=class_row(kind)) as cursor:
        row = cursor.execute(query).fetchone()
    if row is None:
        raise DatabaseError("PostgreSQL does not say how it is.")
    return row


def _all[Row](connection: Connection, kind: type[Row], query: bytes, **parameters: Any) -> list[Row]:
    with connection.cursor(row_factory=class_row(kind)) as cursor:
        return cursor.execute(query, parameters or None).fetchall()
