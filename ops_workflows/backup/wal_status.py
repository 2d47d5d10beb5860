"""Where continuous protection stands: what WAL is in the bucket, how far it is behind, and what can be recovered."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.resources import files
from typing import Any

from psycopg.rows import class_row

from ops_workflows.errors import DatabaseError
from ops_workflows.postgres.connection import connect
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.repository.backup import utc_now
from ops_workflows.repository.catalogue import open_repository
from ops_workflows.repository.reach import Window, reaches, read_listing, window
from ops_workflows.repository.wal import Range, WalListing
from ops_workflows.settings import Settings

_SEGMENT = 16 * 1024 * 1024  # PostgreSQL's default, for a bucket without a backup whose server is gone
_SERVER = files(__package__).joinpath("wal_status.sql").read_text().encode()


@dataclass(frozen=True, slots=True)
class ServerSide:
    """What the server says of its log and of the receiver's slot; the slot's fields are None where there is none."""

    system: str
    timeline: int
    segment_bytes: int
    server_end: str
    active: bool | None
    restart: str | None
    kept: str | None
    flush_lag_seconds: float | None
    sync_state: str | None


@dataclass(frozen=True, slots=True)
class WalStatus:
    """Continuous protection at one moment.

    Attributes:
        receiver: How the receiver is, in words.
        receiving: Whether one is connected.
        ranges: WAL in the bucket without gaps.
        gaps: What is missing between them.
        window: The first and the last moment that can be recovered; None without a backup.
        cut_off: The newest WAL, if there are backups and none of them leads to it: a new one is needed.
        position: How far the bucket has the log of the newest timeline; None where it has none.
        lag_bytes: How far that is behind the server; None where the server does not answer.
        lag_seconds: For how long the oldest byte that is not in the bucket has been waiting, at most.
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

    @property
    def is_whole(self) -> bool:
        """Whether a receiver is at work and the newest WAL can be reached from a backup."""
        return self.receiving and self.cut_off is None and self.window is not None

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return {
            "receiving": self.receiving,
            "receiver": self.receiver,
            "position": None if self.position is None else str(self.position),
            "lag_bytes": self.lag_bytes,
            "lag_seconds": self.lag_seconds,
            "window": [moment.isoformat() for moment in self.window] if self.window else None,
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
    listing, histories = read_listing(repository, segment_bytes)
    ways = reaches(backups, listing, histories)
    reachable = window(ways, listing)
    moments = (reachable.since, reachable.until) if reachable else None
    oldest = min((backup.start_lsn for backup in backups), default=Lsn(0))
    position = _position(listing)
    lag_bytes = lag_seconds = None
    if server is not None and position is not None:
        lag_bytes = max(0, Lsn.parse(server.server_end) - position)
        lag_seconds = _lag_seconds(server, lag_bytes, listing)
        if not lag_bytes and moments and _cut_off(listing, reachable) is None:
            moments = (moments[0], utc_now())  # there is nothing that the bucket does not have
    return WalStatus(
        receiver=trouble or _receiver(settings, server),
        receiving=bool(server and server.active),
        ranges=tuple(listing.ranges()),
        gaps=tuple(gap for gap in listing.gaps() if gap.end > oldest),
        window=moments,
        cut_off=_cut_off(listing, reachable),
        position=position,
        lag_bytes=lag_bytes,
        lag_seconds=lag_seconds,
    )


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


def _cut_off(listing: WalListing, reachable: Window | None) -> Range | None:
    ranges = listing.ranges()
    newest = max(ranges, key=lambda part: (part.timeline, part.end), default=None)
    if reachable is None or newest is None or newest.start <= reachable.end:
        return None
    return newest


def _position(listing: WalListing) -> Lsn | None:
    ranges = listing.ranges()
    if not ranges:
        return None
    newest = max(part.timeline for part in ranges)
    return max(part.end for part in ranges if part.timeline == newest)


def _lag_seconds(server: ServerSide, lag_bytes: int, listing: WalListing) -> float:
    if not lag_bytes:
        return 0.0
    if server.flush_lag_seconds is not None:
        return server.flush_lag_seconds
    stored = max((piece.stored_at for piece in listing.pieces if piece.stored_at), default=None)
    return (utc_now() - stored) / timedelta(seconds=1) if stored else 0.0


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
