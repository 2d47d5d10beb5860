"""How far each backup can be taken by the WAL in the bucket: along which timelines, from where, to where.

Pure functions of the catalogue, the WAL listing and the history files. The window of recovery is made of these.
"""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ops_workflows.postgres.lsn import Lsn
from ops_workflows.repository.backup import Backup
from ops_workflows.repository.branches import living
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.wal import (
    ALL_UNTIL,
    Branch,
    Range,
    WalListing,
    history_key,
    known_time,
    parse_history,
    path,
)

Histories = Mapping[int, Sequence[Branch]]

_LOOKS = 32  # objects that are asked, from an end of the log back, for a time until which it is whole
_CLOCKS_DIFFER = timedelta(seconds=5)  # the bucket's from the server's, whole seconds in a listing included


@dataclass(frozen=True, slots=True)
class Reach:
    """One way forward from a backup.

    Attributes:
        backup: Where it begins: nothing before its stop LSN can be reached.
        timeline: Which timeline it ends on.
        legs: WAL to replay, in order; without any, the backup's own end is all that can be reached.
        end: The last place that can be reached.
        gap: What is missing right behind `end` although there is more WAL after it; None if nothing is.
        whole_until: A time, by the server's clock, up to which nothing is missing: what was committed by then is in
            it. None where that is not known.
        stored_at: When the newest of its WAL was stored, by the bucket's clock; None without any.
    """

    backup: Backup
    timeline: int
    legs: tuple[Range, ...]
    end: Lsn
    gap: Range | None
    whole_until: datetime | None = None
    stored_at: datetime | None = None

    def holds_all(self, time: datetime) -> bool:
        """Whether all that was committed by a time is known to be in it."""
        return self.whole_until is not None and time <= self.whole_until

    def may_hold(self, time: datetime) -> bool:
        """Whether something that was committed after a time may be in its WAL; only replay can tell whether it is."""
        return self.stored_at is not None and time <= self.stored_at + _CLOCKS_DIFFER


def read_listing(repository: Repository, segment_bytes: int) -> tuple[WalListing, Histories]:
    """What WAL the bucket lists, and the history files it has.

    Raises:
        StorageError: The bucket did not answer.
    """
    prefix = repository.layout.wal
    listing = WalListing.of(repository.store.objects(prefix), prefix, segment_bytes)
    histories = {
        timeline: parse_history(repository.store.get(prefix + history_key(timeline))) for timeline in listing.histories
    }
    return _with_times(repository, replace(listing, branches=histories)), histories


def _with_times(repository: Repository, listing: WalListing) -> WalListing:
    """A listing that knows until when its ranges, and timelines up to where they were left, are all that was written.

    Only an object's own word tells. From each such end back they are asked until one knows, a few at most: the log may
    be long, and a tool that copies objects leaves their words behind.
    """
    known: dict[str, datetime | None] = {}
    ends = [(part.timeline, part.end) for part in listing.ranges()]
    ends += [(branch.parent, Lsn(branch.at - 1)) for branches in listing.branches.values() for branch in branches]
    for timeline, end in dict.fromkeys(ends):
        behind = (piece for piece in listing.pieces if piece.timeline == timeline and piece.end <= end)
        for piece in heapq.nlargest(_LOOKS, behind, key=lambda piece: piece.end):
            if piece.key not in known:
                found = repository.store.head(piece.key)
                known[piece.key] = known_time(found.metadata.get(ALL_UNTIL)) if found else None
            if known[piece.key]:
                break
    return replace(listing, pieces=tuple(replace(piece, all_until=known.get(piece.key)) for piece in listing.pieces))


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
    return Reach(backup, timeline, tuple(legs), end, gap, whole_until(legs, listing), _stored_at(legs, listing))


def furthest(backup: Backup, listing: WalListing, histories: Histories) -> Reach:
    """The way of a backup to the newest moment that it can reach: on the living timeline, if it gets there."""
    return newest(reaches([backup], listing, histories), listing)


def newest(ways: Sequence[Reach], listing: WalListing) -> Reach:
    """Of several ways the one that leads furthest: along the living timeline, else along the last."""
    end = living(listing)
    alive = end.timeline if end else None
    return max(ways, key=lambda way: (way.timeline == alive, way.timeline, way.end))


def _way(backup: Backup, timeline: int, histories: Histories) -> list[tuple[int, Lsn | None]] | None:
    """Timelines from the backup's own to the wanted one, each with the place where the next leaves it."""
    if timeline == backup.timeline:
        return [(timeline, None)]
    branches = [branch for branch in histories.get(timeline, ()) if branch.parent >= backup.timeline]
    if not branches or branches[0].parent != backup.timeline or branches[0].at < backup.stop_lsn:
        return None
    return path(timeline, branches)


def whole_until(legs: Sequence[Range], listing: WalListing) -> datetime | None:
    """Until when a way is all that had been written, as far as its objects know; None where none of them does.

    At the very place where a timeline was left, its old server may have stood still while the new one went on.
    """
    return max(
        (
            piece.all_until
            for number, leg in enumerate(legs, start=1)
            for piece in listing.pieces
            if piece.all_until
            and piece.timeline == leg.timeline
            and (leg.start < piece.end < leg.end or (number == len(legs) and piece.end == leg.end))
        ),
        default=None,
    )


def _stored_at(legs: Sequence[Range], listing: WalListing) -> datetime | None:
    last = legs[-1] if legs else None
    times = (
        piece.stored_at
        for piece in listing.pieces
        if last and piece.stored_at and piece.timeline == last.timeline and last.start < piece.end <= last.end
    )
    return max(times, default=None)


@dataclass(frozen=True, slots=True)
class Window:
    """The moments that can all be reached: from the end of its oldest backup to the end of the newest WAL.

    Attributes:
        first: The oldest backup from which WAL leads to the end without a gap.
        since: When that backup ended.
        until: Until when the WAL is known to hold all that was committed.
        end: Where it ends.
        attempt: Until when it may hold more, which only an attempt can tell; None if it cannot.
    """

    first: Backup
    since: datetime
    until: datetime
    end: Lsn
    attempt: datetime | None


def window(ways: Sequence[Reach], listing: WalListing) -> Window | None:
    """The window that reaches the newest moment; None without a backup.

    Older backups from which there is a gap are no part of it: of them only moments before the gap can be reached.
    """
    if not ways:
        return None
    last = newest(ways, listing)
    whole = [way for way in ways if (way.timeline, way.end) == (last.timeline, last.end)]
    oldest = min(whole, key=lambda way: way.backup.finished_at)
    since = oldest.backup.finished_at
    until = max(oldest.whole_until or since, since)
    stored = oldest.stored_at
    return Window(oldest.backup, since, until, oldest.end, stored if stored and stored > until else None)


def left_off(listing: WalListing, timeline: int, branches: Sequence[Branch]) -> tuple[int, Lsn] | None:
    """Where the bucket's log ends on the way to a timeline: on which one, and where; None when it has nothing of it.

    Args:
        listing: The WAL in the bucket.
        timeline: The one that the server is on.
        branches: Its ancestors, from its history.
    """
    following = timeline
    for number, leaves in reversed(path(timeline, branches)):
        ends = [part.end for part in listing.ranges() if part.timeline == number]
        if ends and leaves is not None and max(ends) >= leaves:
            return following, leaves  # all of it is there: what comes next is on the timeline that left it
        if ends:
            return number, max(ends)
        following = number
    return None
