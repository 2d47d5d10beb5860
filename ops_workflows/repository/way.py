"""The log along a way: which objects its segments are made of, and whether each holds what its name says."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from ops_workflows.errors import IntegrityError, StorageError
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.postgres.wal_page import misfit
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.reach import Reach
from ops_workflows.repository.wal import DIGEST, Piece, WalListing, finished, segment_name


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment that a recovering server asks for.

    Attributes:
        name: PostgreSQL's.
        timeline: Which it belongs to.
        start: The first place of it that is needed.
        end: The place behind the last.
        inherited_until: Its pages that begin up to here may be an earlier timeline's.
        size: Bytes of a whole segment.
    """

    name: str
    timeline: int
    start: Lsn
    end: Lsn
    inherited_until: Lsn
    size: int

    def pieces(self, listing: WalListing) -> Iterator[Piece]:
        """The objects that hold it.

        Raises:
            IntegrityError: Some of it is missing.
        """
        return listing.cover(self.timeline, self.start, self.end)


def segments(reach: Reach) -> Iterator[Segment]:
    """The segments of a way, in the order in which they are replayed."""
    size = reach.backup.wal_segment_bytes
    # Of the first segment of all we do not know where its timeline began.
    inherited = Lsn(reach.legs[0].start - reach.legs[0].start % size + size - 1) if reach.legs else Lsn(0)
    for leg in reach.legs:
        # The segment in which a timeline is left, the next one has too, with the same beginning: that one is asked for.
        last = leg is reach.legs[-1]
        until = leg.end if last else leg.end - leg.end % size
        for start in range(leg.start - leg.start % size, until, size):
            end = Lsn(min(start + size, until))
            yield Segment(segment_name(leg.timeline, start, size), leg.timeline, Lsn(start), end, inherited, size)
        inherited = leg.end


def read_piece(repository: Repository, piece: Piece, segment: Segment) -> bytes:
    """The log in one object, which is what was stored, and of the place that its name says.

    A tail that has gone since it was listed, because its segment was finished, is taken out of that.

    Args:
        repository: Where.
        piece: Which.
        segment: What it is part of.

    Raises:
        ConfigurationError: It is encrypted, and no key of ours opens it.
        IntegrityError: It is truncated, altered, or the log of another place, timeline or cluster; the text names it.
        StorageError: It is gone, or the bucket did not answer.
    """
    try:
        return _read(repository, piece, segment)
    except StorageError:
        whole = finished(piece, segment.size) if not piece.whole else ()
        there = next((each for each in whole if repository.store.head(each.key) is not None), None)
        if there is None:
            raise
    content = _read(repository, there, segment)
    return content[piece.start - there.start : piece.end - there.start]


def _read(repository: Repository, piece: Piece, segment: Segment) -> bytes:
    content = repository.log(piece.key)
    wrong: str | None = f"it holds {len(content)} bytes of the log and not {piece.end - piece.start}"
    if len(content) == piece.end - piece.start:
        wrong = misfit(
            content,
            piece.start,
            piece.timeline,
            repository.layout.system,
            inherited_until=segment.inherited_until,
            segment_bytes=segment.size,
        )
    there = repository.store.head(piece.key)
    said = there.metadata.get(DIGEST) if there else None
    if wrong is None and said is not None and said != hashlib.sha256(content).hexdigest():
        wrong = "it is not what was stored"
    if wrong is not None:
        raise IntegrityError(f"{piece.key} is not what its name says: {wrong}. Recovery cannot go on behind it.")
    return content
