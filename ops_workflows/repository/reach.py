"""How far each backup can be taken by the WAL in the bucket: along which timelines, from where, to where.

Pure functions of the catalogue, the WAL listing and the history files. The window of recovery is made of these.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ops_workflows.postgres.lsn import Lsn
from ops_workflows.repository.backup import Backup
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.wal import (
    ALL_UNTIL,
    Branch,
    Piece,
    Range,
    WalListing,
    history_key,
    parse_history,
)

Histories = Mapping[int, Sequence[Branch]]


@dataclass(frozen=True, slots=True)
class Reach:
    """One way forward from a backup.

    Attributes:
        backup: Where it begins: nothing before its stop LSN can be reached.
        timeline: Which timeline it ends on.
        legs: WAL to replay, in order; without any, the backup's own end is all that can be reached.
        end: The last place that can be reached.
        gap: What is missing right behind `end` although there is more WAL after it; None if nothing is.
    """

    backup: Backup
    timeline: int
    legs: tuple[Range, ...]
    end: Lsn
    gap: Range | None


def read_listing(repository: Repository, segment_bytes: int) -> tuple[WalListing, Histories]:
    """What WAL the bucket lists, and the history files it has.

    Raises:
        StorageError: The bucket did not answer.
    """
    prefix = repository.layout.wal
    listing = _with_ends(repository, WalListing.of(repository.store.objects(prefix), prefix, segment_bytes))
    histories = {
        timeline: parse_history(repository.store.get(prefix + history_key(timeline))) for timeline in listing.histories
    }
    return listing, histories


def _with_ends(repository: Repository, listing: WalListing) -> WalListing:
    """A listing that knows until when each range is all that had been written: what its last object says of itself.

    When it was stored may be much later: the bucket was away, or the object is a copy.
    """
    ends = {(found.timeline, found.end) for found in listing.ranges()}
    pieces = (
        _with_end(repository, piece) if (piece.timeline, piece.end) in ends else piece for piece in listing.pieces
    )
    return replace(listing, pieces=tuple(pieces))


def _with_end(repository: Repository, piece: Piece) -> Piece:
    found = repository.store.head(piece.key)
    said = found.metadata.get(ALL_UNTIL) if found else None
    if said is None:  # copied by a tool that leaves behind what is not the bytes
        return piece
    return replace(piece, stored_at=datetime.fromisoformat(said) if said else None)


def reaches(backups: Iterable[Backup], listing: WalListing, histories: Histories) -> list[Reach]:
    """For every backup, every timeline that it can be taken to."""
    return [
        reach
        for backup in backups
        for timeline in (backup.timeline, *sorted(histories))
        if (reach := reach_of(backup, timeline, listing, histories)) is not None
    ]


def reach_of(backup: Backup, timeline: int, listing: WalListing, histories: Histories) -> Reach | None:
    """How far a backup can be taken along a timeline; None when that is no descendant of its own or is not reached."""
    way = _way(backup, timeline, histories)
    if way is None:
        return None
    # The backup's own archive holds the WAL up to its stop LSN. A primary ended that segment with the backup.
    segment = backup.wal_segment_bytes
    at = own_end = Lsn(-(-backup.stop_lsn // segment) * segment)
    if backup.from_standby:
        at, own_end = Lsn(backup.stop_lsn - backup.stop_lsn % segment), backup.stop_lsn
    legs: list[Range] = []
    for number, leaves in way:
        if leaves is not None and leaves <= at:
            at = Lsn(leaves - leaves % segment)  # of this timeline nothing is needed: its WAL is in the backup itself
            continue
        end = listing.end(number, at)
        if end is not None and leaves is not None:
            end = min(end, leaves)
        if end is None or end <= at < (leaves or at + 1):
            break
        legs.append(Range(number, at, end))
        if leaves is None or end < leaves:
            break
        at = Lsn(leaves - leaves % segment)  # the next timeline's first segment repeats what came before in it
    last = legs[-1] if legs else None
    if timeline != (last.timeline if last else backup.timeline):
        return None
    end = last.end if last else own_end
    gap = next((gap for gap in listing.gaps() if last and gap.timeline == last.timeline and gap.start == end), None)
    return Reach(backup, timeline, tuple(legs), end, gap)


def _way(backup: Backup, timeline: int, histories: Histories) -> list[tuple[int, Lsn | None]] | None:
    """Timelines from the backup's own to the wanted one, each with the place where the next leaves it."""
    if timeline == backup.timeline:
        return [(timeline, None)]
    branches = [branch for branch in histories.get(timeline, ()) if branch.parent >= backup.timeline]
    if not branches or branches[0].parent != backup.timeline or branches[0].at < backup.stop_lsn:
        return None
    return [(branch.parent, branch.at) for branch in branches] + [(timeline, None)]


def stored_until(reach: Reach, listing: WalListing) -> datetime:
    """Until when a way is all that had been written: what was committed by then is in it."""
    last = reach.legs[-1] if reach.legs else None
    if last is None:
        return reach.backup.finished_at
    times = [
        piece.stored_at
        for piece in listing.pieces
        if piece.stored_at and piece.timeline == last.timeline and piece.end == last.end
    ]
    return max(times, default=reach.backup.finished_at)


@dataclass(frozen=True, slots=True)
class Window:
    """The moments that can all be reached: from the end of its oldest backup to the end of the newest WAL.

    Attributes:
        first: The oldest backup from which WAL leads to the end without a gap.
        since: When that backup ended.
        until: When the last WAL was stored.
        end: Where it ends.
    """

    first: Backup
    since: datetime
    until: datetime
    end: Lsn


def window(ways: Sequence[Reach], listing: WalListing) -> Window | None:
    """The window that reaches the newest moment; None without a backup.

    Older backups from which there is a gap are no part of it: of them only moments before the gap can be reached.
    """
    if not ways:
        return None
    newest = max(ways, key=lambda way: (way.timeline, way.end))
    whole = [way for way in ways if (way.timeline, way.end) == (newest.timeline, newest.end)]
    oldest = min(whole, key=lambda way: way.backup.finished_at)
    return Window(oldest.backup, oldest.backup.finished_at, stored_until(oldest, listing), oldest.end)


def left_off(listing: WalListing, timeline: int, branches: Sequence[Branch]) -> tuple[int, Lsn] | None:
    """Where the bucket's log ends on the way to a timeline: on which one, and where; None when it has nothing of it.

    Args:
        listing: The WAL in the bucket.
        timeline: The one that the server is on.
        branches: Its ancestors, from its history.
    """
    following = timeline
    for number, leaves in [(timeline, None), *((branch.parent, branch.at) for branch in reversed(branches))]:
        ends = [part.end for part in listing.ranges() if part.timeline == number]
        if ends and leaves is not None and max(ends) >= leaves:
            return following, leaves  # all of it is there: what comes next is on the timeline that left it
        if ends:
            return number, max(ends)
        following = number
    return None
