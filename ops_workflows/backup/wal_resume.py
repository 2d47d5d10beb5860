"""Where a receiver goes on: where its slot stands, or where the bucket's log ends if that is earlier or no slot stands.

A slot is made without a place. It gets one by the first word of a receiver that streams through it: so whoever is
killed in between leaves a slot which says nothing, and not one that stands behind what the bucket still lacks. A slot
that was made by hand may well stand there, and so may any slot once the bucket is an older copy of itself: what the
bucket lacks is fetched then, too, as long as the server has it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ops_workflows.errors import DatabaseError, IntegrityError
from ops_workflows.postgres import wal_stream as protocol
from ops_workflows.postgres.connection import Connection, connect
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.postgres.replication import ReplicationConnection
from ops_workflows.progress import Progress
from ops_workflows.repository.reach import Histories, left_off
from ops_workflows.repository.wal import Branch, WalListing, parse_history, segment_name
from ops_workflows.settings import Settings

_LOST = (
    "SELECT FROM pg_replication_slots WHERE slot_name = %s AND (wal_status = 'lost' OR invalidation_reason IS NOT NULL)"
)
_LOST_BEFORE_17 = "SELECT FROM pg_replication_slots WHERE slot_name = %s AND wal_status = 'lost'"
_REASON_SINCE = 170_000
_REDO = "SELECT redo_lsn::text FROM pg_control_checkpoint()"
# The segment in which a timeline was left, a promoted server may have under the next timeline's name only.
_HAS_SEGMENT = "SELECT FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$' AND substr(name, 9) = %s"


def another_history(timeline: int) -> IntegrityError:
    """What is raised where the bucket knows another past of a timeline than the server does."""
    return IntegrityError(
        f"The bucket holds another timeline {timeline} than the server's: two servers were promoted to it, each for "
        "itself. Nothing was replaced; stop one of them, or archive this one into a place of its own."
    )


@dataclass(frozen=True, slots=True)
class Place:
    """Where a receiver goes on.

    Attributes:
        at: In the log.
        timeline: Its timeline.
        tailed: Segments of which the bucket has tails, by timeline and beginning.
    """

    at: Lsn
    timeline: int
    tailed: frozenset[tuple[int, Lsn]]


@dataclass(frozen=True, slots=True)
class Resumption:
    """What is needed to find the place.

    Attributes:
        settings: The server and the slot's name.
        connection: To the server, speaking replication.
        segment_bytes: The cluster's wal_segment_size.
        timeline: The one that the server is on.
        contents: Asks the bucket what it has of the log, and which histories.
        progress: Hears of lost slots, of slots that are ahead, and of gaps.
    """

    settings: Settings
    connection: ReplicationConnection
    segment_bytes: int
    timeline: int
    contents: Callable[[], tuple[WalListing, Histories]]
    progress: Progress

    def find(self) -> Place:
        """The place.

        Raises:
            RefusedError: There is a slot of that name which is logical.
            DatabaseError: The server does not answer.
            StorageError: The bucket does not.
            IntegrityError: The bucket holds the log of another cluster that came by the same timeline.
        """
        name = self.settings.wal_slot
        slot = protocol.read_slot(self.connection, name)
        # Only now, so that it is not older than the slot, which another receiver may be moving.
        listing, histories = self.contents()
        branches = self._branches()
        self._require_our_past(branches, histories)
        left = left_off(listing, self.timeline, branches)
        size = self.segment_bytes
        tails = (piece for piece in listing.pieces if not piece.whole)
        tailed = frozenset((tail.timeline, Lsn(tail.start - tail.start % size)) for tail in tails)
        dsn, timeout = self.settings.require("backup_dsn"), self.settings.connect_timeout_seconds
        with connect(dsn, timeout=timeout) as asking:
            if slot is not None and self._is_lost(asking):
                self.progress.say(f"Slot {name} was lost: the server kept no more WAL for it (max_slot_wal_keep_size).")
                protocol.drop_slot(self.connection, name)
                slot = None
            if slot is not None and slot.restart is not None:
                held = (slot.restart, slot.timeline or self.timeline)
                # What the bucket has beyond the slot, its receiver has not heard to be safe: that is sent again.
                if left is None or left[1] >= slot.restart:
                    return Place(*held, tailed)
                self.progress.say(f"Slot {name} stands at {slot.restart}, but the bucket's log ends at {left[1]}.")
            else:
                protocol.create_slot(self.connection, name)
                held = self._last_checkpoint(asking, branches)
            return Place(*self._continued(asking, left, held), tailed)

    def _branches(self) -> list[Branch]:
        """The ancestors of the server's timeline."""
        if self.timeline == 1:
            return []
        return parse_history(protocol.timeline_history(self.connection, self.timeline)[1])

    def _require_our_past(self, branches: Sequence[Branch], histories: Histories) -> None:
        followers = [*(branch.parent for branch in branches[1:]), self.timeline]
        for number, timeline in enumerate(followers, 1):
            past = branches[:number]
            if timeline in histories and histories[timeline] != past:
                raise another_history(timeline)

    def _is_lost(self, asking: Connection) -> bool:
        query = _LOST if self.connection.server_version >= _REASON_SINCE else _LOST_BEFORE_17
        return asking.execute(query.encode(), [self.settings.wal_slot]).rowcount > 0

    def _last_checkpoint(self, asking: Connection, branches: Sequence[Branch]) -> tuple[Lsn, int]:
        """Where it began, and on which timeline: the server has all since."""
        row = asking.execute(_REDO).fetchone()
        if row is None:
            raise DatabaseError("PostgreSQL says nothing of its last checkpoint.")
        begins = Lsn.parse(row[0])
        return begins, next((branch.parent for branch in branches if begins < branch.at), self.timeline)

    def _continued(self, asking: Connection, left: tuple[int, Lsn] | None, held: tuple[Lsn, int]) -> tuple[Lsn, int]:
        """Where the bucket's log was left off, if the server still has all since; else what it has for certain."""
        begins, on = held
        if left is None:
            return held
        timeline, at = left
        number = segment_name(timeline, at, self.segment_bytes)[8:]
        if at >= begins or asking.execute(_HAS_SEGMENT.encode(), [number]).rowcount > 0:
            return at, timeline
        self.progress.say(
            f"There is a gap in the bucket from {at} on timeline {timeline} to {begins} on timeline {on}: the server "
            "has removed that WAL. Take a new base backup now."
        )
        return held
