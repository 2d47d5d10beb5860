"""Which WAL the backups that are kept need, for themselves and to recover from them to any later moment.

A backup needs its timeline's log from its start on, to the end, and the log of every timeline that left that one at or
after its start. Where a timeline came from is in its history file; while that is missing, all its log is needed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ops_workflows.postgres.lsn import Lsn
from ops_workflows.repository.wal import Branch, Piece, WalListing

_FIRST_TIMELINE = 1  # it came from nowhere, and has no history file


@dataclass(frozen=True, slots=True)
class WalFacts:
    """The log in the bucket, and how its timelines hang together.

    Attributes:
        listing: What is there.
        branches: Of each timeline whose history is known, its ancestors, as `parse_history` reads them.
        sizes: Bytes of each object, by its key.
    """

    listing: WalListing
    branches: Mapping[int, Sequence[Branch]] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)

    @property
    def timelines(self) -> frozenset[int]:
        """Every timeline of which something is there, be it only its history."""
        return self.listing.histories | {piece.timeline for piece in self.listing.pieces}

    def knows(self, timeline: int) -> bool:
        """Whether it is known where a timeline came from."""
        return timeline == _FIRST_TIMELINE or bool(self.branches.get(timeline))

    def leads(self, timeline: int, place: Lsn, to: int) -> bool:
        """Whether whoever stands at a place of one timeline can go on to another: it is the same, or left it later."""
        left = (branch.at for branch in self.branches.get(to, ()) if branch.parent == timeline)
        return timeline == to or any(at >= place for at in left)

    def unneeded(self, starts: Iterable[tuple[int, Lsn]], living: int) -> tuple[Piece, ...]:
        """The pieces that no kept backup needs, the oldest of each timeline first.

        Args:
            starts: Timeline and start of each kept backup. If there are none, everything is needed.
            living: The timeline that the cluster is on. Its log may be needed by a backup that is yet to come.
        """
        kept = list(starts)
        if not kept:
            return ()
        floors = {timeline: self._floor(timeline, kept, living) for timeline in self.timelines}
        return tuple(piece for piece in self.listing.pieces if piece.end <= floors[piece.timeline])

    def _floor(self, timeline: int, kept: list[tuple[int, Lsn]], living: int) -> Lsn:
        """Where the needed part of a timeline's log begins."""
        if not self.knows(timeline):
            return Lsn(0)
        needed = [start for origin, start in kept if self.leads(origin, start, timeline)]
        if needed:
            return min(needed)
        # Nobody can get here any more. A branch that was left behind may go as a whole.
        return Lsn(0) if timeline >= living else max((piece.end for piece in self.listing.pieces), default=Lsn(0))
