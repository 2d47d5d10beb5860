"""Where a receiver goes on: where its slot stands or, without one that holds back WAL, where the bucket's log ends.

A slot is made without a place. It gets one by the first word of a receiver that streams through it: so whoever is
killed in between leaves a slot which says nothing, and not one that stands behind what the bucket still lacks.
"""

from dataclasses import dataclass

from ops_workflows.errors import DatabaseError
from ops_workflows.postgres import wal_stream as protocol
from ops_workflows.postgres.connection import Connection, connect
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.postgres.replication import ReplicationConnection
from ops_workflows.progress import Progress
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.reach import left_off, read_listing
from ops_workflows.repository.wal import Branch, parse_history, segment_name
from ops_workflows.settings import Settings

_LOST = (
    "SELECT FROM pg_replication_slots WHERE slot_name = %s AND (wal_status = 'lost' OR invalidation_reason IS NOT NULL)"
)
_LOST_BEFORE_17 = "SELECT FROM pg_replication_slots WHERE slot_name = %s AND wal_status = 'lost'"
_REASON_SINCE = 170_000
_REDO = "SELECT redo_lsn::text FROM pg_control_checkpoint()"
# The segment in which a timeline was left, a promoted server may have under the next timeline's name only.
_HAS_SEGMENT = "SELECT FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$' AND substr(name, 9) = %s"


@dataclass(frozen=True, slots=True)
class Resumption:
    """What is needed to find the place.

    Attributes:
        settings: The server and the slot's name.
        connection: To the server, speaking replication.
        repository: The bucket.
        segment_bytes: The cluster's wal_segment_size.
        timeline: The one that the server is on.
        progress: Hears of lost slots and of gaps.
    """

    settings: Settings
    connection: ReplicationConnection
    repository: Repository
    segment_bytes: int
    timeline: int
    progress: Progress

    def find(self) -> tuple[Lsn, int]:
        """The place and its timeline.

        Raises:
            RefusedError: There is a slot of that name which is logical.
            DatabaseError: The server does not answer.
            StorageError: The bucket does not.
        """
        name = self.settings.wal_slot
        slot = protocol.read_slot(self.connection, name)
        dsn, timeout = self.settings.require("backup_dsn"), self.settings.connect_timeout_seconds
        with connect(dsn, timeout=timeout) as asking:
            if slot is not None and self._is_lost(asking):
                self.progress.say(f"Slot {name} was lost: the server kept no more WAL for it (max_slot_wal_keep_size).")
                protocol.drop_slot(self.connection, name)
                slot = None
            if slot is not None and slot.restart is not None:
                return slot.restart, slot.timeline or self.timeline
            protocol.create_slot(self.connection, name)
            return self._without_a_slot(asking)

    def _is_lost(self, asking: Connection) -> bool:
        query = _LOST if self.connection.server_version >= _REASON_SINCE else _LOST_BEFORE_17
        return asking.execute(query.encode(), [self.settings.wal_slot]).rowcount > 0

    def _without_a_slot(self, asking: Connection) -> tuple[Lsn, int]:
        """Where the bucket's log ends, if the server still has all since; else where its last checkpoint began."""
        row = asking.execute(_REDO).fetchone()
        if row is None:
            raise DatabaseError("PostgreSQL says nothing of its last checkpoint.")
        begins = Lsn.parse(row[0])
        branches: list[Branch] = []
        if self.timeline > 1:
            branches = parse_history(protocol.timeline_history(self.connection, self.timeline)[1])
        on = next((branch.parent for branch in branches if begins < branch.at), self.timeline)
        listing, _ = read_listing(self.repository, self.segment_bytes)
        end = left_off(listing, self.timeline, branches)
        if end is None:
            return begins, on
        timeline, at = end
        number = segment_name(timeline, at, self.segment_bytes)[8:]
        if asking.execute(_HAS_SEGMENT.encode(), [number]).rowcount > 0:
            return at, timeline
        self.progress.say(
            f"There is a gap in the bucket from {at} on timeline {timeline} to {begins} on timeline {on}: the server "
            "has removed that WAL. Take a new base backup now."
        )
        return begins, on
