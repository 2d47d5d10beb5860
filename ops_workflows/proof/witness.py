"""What the canaries say of a recovery to a moment: those before it are there, each once, and none after it is."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import LiteralString

from ops_workflows.errors import DatabaseError
from ops_workflows.postgres.connection import Connection, connect
from ops_workflows.postgres.inventory import databases
from ops_workflows.postgres.server import Server
from ops_workflows.repository.backup import Backup, utc_now
from ops_workflows.repository.canaries import Canary, Interval

HEARTBEATS = "ops.heartbeat"
_NEWEST: LiteralString = "SELECT max(at) FROM ops.heartbeat WHERE at <= %s AND sender <> ALL (%s)"
_MOST = 1000  # canaries before the moment that are asked for: older ones may have been pruned


@dataclass(frozen=True, slots=True)
class Witnesses:
    """The canaries on both sides of a moment.

    Attributes:
        moment: Which.
        before: Committed by then, oldest first.
        after: Committed later.
    """

    moment: datetime
    before: tuple[Canary, ...]
    after: tuple[Canary, ...]

    @property
    def speak(self) -> bool:
        """Whether there is one on each side: otherwise nobody can say whether it was the moment that was asked for."""
        return bool(self.before and self.after)


def witnesses(passed: Sequence[Canary], moment: datetime, backup: Backup) -> Witnesses:
    """Those of a way's canaries that know something of a moment on it.

    Args:
        passed: The canaries that the way passes, from `canaries.along`.
        moment: Recovered to.
        backup: Where the way begins. Of what was committed before it ended, only the last canary is asked for; one of a
            later time than the moment is in the backup all the same, for a clock was ahead, and says nothing of it.
    """
    known = [canary for canary in passed if canary.after <= moment]
    recent = [canary for canary in known if canary.after >= backup.finished_at] or known[-1:]
    replayed = (canary for canary in passed if not canary.is_before(backup.timeline, backup.stop_lsn))
    return Witnesses(moment, tuple(recent[-_MOST:]), tuple(canary for canary in replayed if canary.before > moment))


def random_moment(between: Sequence[Interval], chance: Random) -> datetime:
    """A moment strictly inside one of these intervals, each instant as likely as any other."""
    chosen = chance.choices(between, [each.seconds for each in between])[0]
    return chosen.first.after + (chosen.second.before - chosen.first.after) * chance.uniform(0.1, 0.9)


def heartbeat_databases(server: Server, superuser: str) -> list[str]:
    """The databases of a restored server that have heartbeats: those of the application.

    Raises:
        DatabaseError: The server does not answer.
    """
    with connect(server.dsn("postgres", superuser)) as connection:
        names = databases(connection)
    return [name for name in names if _has_heartbeats(server.dsn(name, superuser))]


def newest_heartbeat(
    server: Server, superuser: str, until: datetime, planted: Iterable[Canary] = ()
) -> datetime | None:
    """The newest heartbeat of a restored server up to a moment, but for these canaries; None where there is none.

    One from later, of a clock that was ahead, tells no age.

    Raises:
        DatabaseError: The server does not answer.
    """
    beats: list[datetime] = []
    for name in heartbeat_databases(server, superuser):
        with connect(server.dsn(name, superuser)) as connection:
            row = connection.execute(_NEWEST, [until, [each.sender for each in planted]]).fetchone()
            beats += [row[0]] if row and row[0] else []
    return max(beats, default=None)


def testimony(server: Server, superuser: str, asked: Witnesses) -> list[str]:
    """Hold a recovered server against the canaries: a clause for each fault, none if all is as it must be.

    Raises:
        DatabaseError: The server does not answer.
    """
    counts: dict[str, int] = {}
    late: list[tuple[str, datetime]] = []
    for name in heartbeat_databases(server, superuser):
        with connect(server.dsn(name, superuser)) as connection:
            for sender, rows in _canaries_there(connection):
                counts[sender] = counts.get(sender, 0) + rows
            late += _later(connection, asked.moment)
    faults = [f"{_said(each)} is missing" for each in asked.before if each.sender not in counts]
    faults += [f"{_said(each)} is there {counts[each.sender]} times" for each in asked.before if _doubled(each, counts)]
    faults += [f"{_said(each)}, after the moment, is there" for each in asked.after if each.sender in counts]
    faults += [f"a heartbeat of {sender} at {at.isoformat()}, after the moment, is there" for sender, at in late]
    return faults


def _has_heartbeats(dsn: str) -> bool:
    with connect(dsn) as connection:
        there = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [HEARTBEATS]).fetchone()
    if there is None:
        raise DatabaseError("A restored database did not answer.")
    return bool(there[0])


def _canaries_there(connection: Connection) -> list[tuple[str, int]]:
    query = "SELECT sender, count(*) FROM ops.heartbeat WHERE sender LIKE 'canary %' GROUP BY sender"
    return [(str(sender), int(rows)) for sender, rows in connection.execute(query)]


def _later(connection: Connection, moment: datetime) -> list[tuple[str, datetime]]:
    # A heartbeat's time is from before its commit, so one after the moment was committed after it, too. One whose time
    # has not come even now was written by a clock that was ahead: that tells nothing of the moment.
    query = (
        "SELECT sender, at FROM ops.heartbeat "
        "WHERE at > %s AND at <= %s AND NOT starts_with(sender, 'canary ') ORDER BY at LIMIT 3"
    )
    return [(str(sender), at) for sender, at in connection.execute(query, [moment, utc_now()])]


def _doubled(canary: Canary, counts: dict[str, int]) -> bool:
    return counts.get(canary.sender, 0) > 1


def _said(canary: Canary) -> str:
    return f"{canary.sender} of {canary.after:%Y-%m-%d %H:%M:%S} UTC"
