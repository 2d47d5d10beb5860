"""`contiguous`: the log in the bucket leads from the backup to now, along one path of timelines, without a gap."""

from collections.abc import Iterable

from ops_workflows.postgres.lsn import Lsn
from ops_workflows.proof.rungs import Climb
from ops_workflows.repository.backup import Backup
from ops_workflows.repository.branches import living
from ops_workflows.repository.canaries import Canary
from ops_workflows.repository.reach import Histories, Reach, furthest, reach_of
from ops_workflows.repository.rungs import Rung
from ops_workflows.repository.wal import Range, WalListing, segment_name


def contiguous(
    backup: Backup,
    listing: WalListing,
    histories: Histories,
    promised: Iterable[Canary] = (),
    seen_until: tuple[int, Lsn] | None = None,
) -> Climb:
    """Decide it from names alone: a pure function of the bucket's listing and its history files.

    Args:
        backup: Which.
        listing: The log in the bucket.
        histories: What the history files say.
        promised: Canaries that must be in it by now.
        seen_until: How far it had come when it was read at last: the timeline, and the place.
    """
    newest = living(listing)
    if newest is None:
        return _failed("The bucket holds no write-ahead log: start `ops wal stream`.")
    reach = reach_of(backup, newest.timeline, listing, histories)
    if reach is None or reach.end < newest.end:
        return _failed(_why_not(backup, newest, reach, listing, histories))
    if lost := [each for each in promised if _is_behind((each.timeline, each.lsn), newest, listing)]:
        first = min(lost)
        return _failed(
            f"The log ends at {newest.end} on timeline {newest.timeline}, and {first.sender}, committed by "
            f"{first.after:%Y-%m-%d %H:%M:%S} UTC, lies behind that, at {first.lsn} on timeline {first.timeline}: what "
            "was committed since is not in the bucket. See `ops wal status`."
        )
    if seen_until is not None and _is_behind(seen_until, newest, listing):
        return _failed(
            f"The log ends at {newest.end} on timeline {newest.timeline}, and it was read up to {seen_until[1]} on "
            f"timeline {seen_until[0]} before: its end has gone from the bucket."
        )
    pieces = sum(1 for leg in reach.legs for _ in listing.cover(leg.timeline, leg.start, leg.end))
    path = ", ".join(str(leg.timeline) for leg in reach.legs) or str(backup.timeline)
    finding = f"{pieces:,} objects lead from {backup.stop_lsn} to {reach.end} without a gap, on timeline {path}."
    figures = {"wal_objects": pieces, "wal_bytes": sum(leg.end - leg.start for leg in reach.legs)}
    return Climb(Rung.CONTIGUOUS, True, finding, figures)


def _why_not(backup: Backup, newest: Range, reach: Reach | None, listing: WalListing, histories: Histories) -> str:
    if newest.timeline > backup.timeline and newest.timeline not in histories:
        return (
            f"The log goes on to {newest.end} on timeline {newest.timeline}, and no history file says how that came "
            f"from the backup's, {backup.timeline}."
        )
    last = reach or furthest(backup, listing, histories)
    if last.gap is None and last.timeline != newest.timeline and _has_left(last, newest, histories):
        return (
            f"The backup leads to {last.end} on timeline {last.timeline}, which was left behind: the server is on "
            f"timeline {newest.timeline}, and the log goes on there to {newest.end}."
        )
    return _broken_off(newest, last)


def _has_left(last: Reach, newest: Range, histories: Histories) -> bool:
    """Whether the living timeline does not come from the end of this one."""
    left = [branch.at for branch in histories.get(newest.timeline, ()) if branch.parent == last.timeline]
    return not left or left[0] <= last.backup.stop_lsn


def _is_behind(place: tuple[int, Lsn], newest: Range, listing: WalListing) -> bool:
    """Whether a place lies behind the end of the log, or on a later timeline of which there is nothing."""
    timeline, lsn = place
    if timeline == newest.timeline:
        return lsn > newest.end
    return timeline > newest.timeline and all(piece.timeline != timeline for piece in listing.pieces)


def _broken_off(newest: Range, reach: Reach) -> str:
    missing = segment_name(reach.timeline, reach.end, reach.backup.wal_segment_bytes)
    until = f"{reach.gap.end} on timeline {reach.timeline}" if reach.gap else f"timeline {newest.timeline}"
    return (
        f"The log breaks off at {reach.end} on timeline {reach.timeline}: segment {missing} is missing, and maybe more "
        f"up to {until}; the bucket goes on to {newest.end}."
    )


def _failed(finding: str) -> Climb:
    return Climb(Rung.CONTIGUOUS, False, finding)
