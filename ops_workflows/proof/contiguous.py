"""`contiguous`: the log in the bucket leads from the backup to now, along one path of timelines, without a gap."""

from collections.abc import Iterable

from ops_workflows.postgres.lsn import Lsn
from ops_workflows.proof.rungs import Climb
from ops_workflows.repository.backup import Backup
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
    ranges = listing.ranges()
    if not ranges:
        return _failed("The bucket holds no write-ahead log: start `ops wal stream`.")
    newest = max(ranges, key=lambda part: (part.timeline, part.end))
    reach = reach_of(backup, newest.timeline, listing, histories)
    if reach is None or reach.end < newest.end:
        if newest.timeline not in {backup.timeline, *histories}:
            return _failed(
                f"The log goes on to {newest.end} on timeline {newest.timeline}, and no history file says how that "
                f"came from the backup's, {backup.timeline}."
            )
        return _failed(_broken_off(newest, reach or furthest(backup, listing, histories)))
    lost = [each for each in promised if (each.timeline, each.lsn) > (newest.timeline, newest.end)]
    if lost:
        first = min(lost)
        return _failed(
            f"The log ends at {newest.end} on timeline {newest.timeline}, and {first.sender}, committed by "
            f"{first.after:%Y-%m-%d %H:%M:%S} UTC, lies behind that, at {first.lsn} on timeline {first.timeline}: what "
            "was committed since is not in the bucket. See `ops wal status`."
        )
    if seen_until is not None and seen_until > (newest.timeline, newest.end):
        return _failed(
            f"The log ends at {newest.end} on timeline {newest.timeline}, and it was read up to {seen_until[1]} on "
            f"timeline {seen_until[0]} before: its end has gone from the bucket."
        )
    pieces = sum(1 for leg in reach.legs for _ in listing.cover(leg.timeline, leg.start, leg.end))
    path = ", ".join(str(leg.timeline) for leg in reach.legs) or str(backup.timeline)
    finding = f"{pieces:,} objects lead from {backup.stop_lsn} to {reach.end} without a gap, on timeline {path}."
    figures = {"wal_objects": pieces, "wal_bytes": sum(leg.end - leg.start for leg in reach.legs)}
    return Climb(Rung.CONTIGUOUS, True, finding, figures)


def _broken_off(newest: Range, reach: Reach) -> str:
    missing = segment_name(reach.timeline, reach.end, reach.backup.wal_segment_bytes)
    until = f"{reach.gap.end} on timeline {reach.timeline}" if reach.gap else f"timeline {newest.timeline}"
    return (
        f"The log breaks off at {reach.end} on timeline {reach.timeline}: segment {missing} is missing, and maybe more "
        f"up to {until}; the bucket goes on to {newest.end}."
    )


def _failed(finding: str) -> Climb:
    return Climb(Rung.CONTIGUOUS, False, finding)
