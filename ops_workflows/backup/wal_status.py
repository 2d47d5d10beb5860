"""Where continuous protection stands: what WAL is in the bucket, how far it is behind, and what can be recovered."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.resources import files
from typing import Any, Self

from psycopg.rows import class_row

from ops_workflows.errors import DatabaseError
from ops_workflows.postgres.connection import connect
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.repository.backup import Backup
from ops_workflows.repository.branches import living
from ops_workflows.repository.catalogue import open_repository
from ops_workflows.repository.reach import Reach, left_off, reaches, read_listing, whole_until, window
from ops_workflows.repository.wal import Range, WalListing, path
from ops_workflows.settings import Settings

_SEGMENT = 16 * 1024 * 1024  # PostgreSQL's default, for a bucket without a backup whose server is gone
_SERVER = files(__package__).joinpath("wal_status.sql").read_text().encode()


@dataclass(frozen=True, slots=True)
class ServerSide:
    """What the server says of its clock, its log and the receiver's slot, whose fields are None where there is none."""

    system: str
    now: datetime
    timeline: int
    segment_bytes: int
    server_end: str
    active: bool | None
    kept: str | None
    sync_state: str | None


@dataclass(frozen=True, slots=True)
class WalStatus:
    """Continuous protection at one moment.

    Attributes:
        receiver: How the receiver is, in words.
        receiving: Whether one is connected.
        ranges: WAL in the bucket without gaps.
        gaps: What is missing on the way to the end of each timeline, behind the start of the oldest backup.
        window: The first and the last moment that can be recovered; None without a backup.
        cut_off: The newest WAL, if there are backups and none of them leads to its end: a new one is needed.
        position: How far the bucket has the log on the way to where the server is; None where it has none.
        lag_bytes: How far that is behind the server; None where the server does not answer, or its timeline is unknown.
        lag_seconds: The age, by the server's clock, of the newest moment of which the bucket is known to have all; 0 if
            it has all there is. None where it is not known.
        objective_seconds: How much that may be: OPS_RPO_OBJECTIVE_SECONDS.
    """

    receiver: str
    receiving: bool
    ranges: tuple[Range, ...]
    gaps: tuple[Range, ...]
    window: tuple[datetime, datetime] | None
    cut_off: Range | None
    position: Lsn | None
    lag_bytes: int | None
    lag_seconds: float | None
    objective_seconds: float

    @classmethod
    def of(
        cls, server: ServerSide | None, receiver: str, backups: Sequence[Backup], log: WalListing, objective: float
    ) -> Self:
        """Judge what was found: a pure function of it.

        Args:
            server: What the server said; None if it does not answer.
            receiver: How the receiver is, in words.
            backups: All there are.
            log: The WAL in the bucket, from `read_listing`.
            objective: Seconds that the bucket may be behind.
        """
        ways = reaches(backups, log, log.branches)
        reachable = window(ways, log)
        moments = (reachable.since, reachable.until) if reachable else None
        cut_off = _cut_off(log, ways)
        stands = _position(server, log)
        position = stands[1] if stands else None
        end = living(log)
        lag_bytes = lag_seconds = None
        if server is not None and position is not None:
            lag_bytes = max(0, Lsn.parse(server.server_end) - position)
            lag_seconds = _lag_seconds(server, position, log) if lag_bytes else 0.0
            if not lag_bytes and moments and cut_off is None and end and stands and stands[0] == end.timeline:
                moments = (moments[0], server.now)  # there is nothing that the bucket does not have
        oldest = min((backup.start_lsn for backup in backups), default=Lsn(0))
        return cls(
            receiver=receiver,
            receiving=bool(server and server.active),
            ranges=tuple(log.ranges()),
            gaps=tuple(gap for gap in log.gaps() if gap.end > oldest),
            window=moments,
            cut_off=cut_off,
            position=position,
            lag_bytes=lag_bytes,
            lag_seconds=lag_seconds,
            objective_seconds=objective,
        )

    @property
    def is_whole(self) -> bool:
        """Whether a receiver is at work and the newest WAL can be reached from a backup."""
        return self.receiving and self.cut_off is None and self.window is not None

    @property
    def keeps_objective(self) -> bool:
        """Whether the bucket is known to be no further behind than the recovery point objective allows."""
        return self.lag_seconds is not None and self.lag_seconds <= self.objective_seconds

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return {
            "is_whole": self.is_whole,
            "receiving": self.receiving,
            "receiver": self.receiver,
            "position": None if self.position is None else str(self.position),
            "lag_bytes": self.lag_bytes,
            "lag_seconds": self.lag_seconds,
            "objective_seconds": self.objective_seconds,
            "keeps_objective": self.keeps_objective,
            "window": [moment.isoformat() for moment in self.window] if self.window else None,
            "cut_off": _range(self.cut_off) if self.cut_off else None,
            "ranges": [_range(part) for part in self.ranges],
            "gaps": [_range(part) for part in self.gaps],
        }


def wal_status(settings: Settings) -> WalStatus:
    """Ask the server and the bucket. A server that is down is part of the answer, not an error.

    Raises:
        ConfigurationError: A setting is missing.
        StorageError: The bucket did not answer, so nothing is known.
    """
    try:
        server, trouble = _ask(settings), ""
    except DatabaseError as error:
        server, trouble = None, str(error)
    repository = open_repository(settings, server.system if server else None)
    backups = repository.backups()
    segment_bytes = server.segment_bytes if server else backups[-1].wal_segment_bytes if backups else _SEGMENT
    log, _ = read_listing(repository, segment_bytes)
    receiver = trouble or _receiver(settings, server)
    return WalStatus.of(server, receiver, backups, log, settings.rpo_objective_seconds)


def _ask(settings: Settings) -> ServerSide:
    dsn = settings.require("backup_dsn")
    with (
        connect(dsn, timeout=settings.connect_timeout_seconds, statement_seconds=20) as connection,
        connection.cursor(row_factory=class_row(ServerSide)) as cursor,
    ):
        row = cursor.execute(_SERVER, {"slot": settings.wal_slot}).fetchone()
    if row is None:
        raise DatabaseError("PostgreSQL said nothing of its log.")
    return row


def _cut_off(log: WalListing, ways: Sequence[Reach]) -> Range | None:
    # Places compare on one timeline only: a bucket may have more of an old one than its standby had when it took over.
    end = living(log)
    if end is None or not ways:
        return None
    shipped = {part.timeline for part in log.ranges()}
    ahead = (way.timeline > end.timeline and way.timeline not in shipped for way in ways)  # the receiver is behind
    there = (way.timeline == end.timeline and way.end >= end.end for way in ways)
    return None if any(ahead) or any(there) else end


def _position(server: ServerSide | None, log: WalListing) -> tuple[int, Lsn] | None:
    """How far the bucket has the log, and on which timeline."""
    if server is None:
        end = living(log)
        return (end.timeline, end.end) if end else None
    return left_off(log, server.timeline, log.branches.get(server.timeline, ()))


def _lag_seconds(server: ServerSide, position: Lsn, log: WalListing) -> float | None:
    way = path(server.timeline, log.branches.get(server.timeline, ()))
    until = whole_until([Range(number, Lsn(0), leaves or position) for number, leaves in way], log)
    return max(0.0, (server.now - until) / timedelta(seconds=1)) if until else None


def _receiver(settings: Settings, server: ServerSide | None) -> str:
    if server is None or server.kept is None:
        return f"no slot {settings.wal_slot} on the server: start `ops wal stream`"
    if server.kept == "lost":
        return f"slot {settings.wal_slot} is lost: restart `ops wal stream`, and take a new base backup"
    state = "streaming" if server.active else "not connected: start `ops wal stream`"
    synchronous = ", synchronous: commits wait for the bucket" if server.sync_state in {"sync", "quorum"} else ""
    return f"slot {settings.wal_slot} ({server.kept}), {state}{synchronous}"


def _range(part: Range) -> dict[str, Any]:
    return {"timeline": part.timeline, "start": str(part.start), "end": str(part.end)}
