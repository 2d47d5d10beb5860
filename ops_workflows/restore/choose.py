"""Which backup to start from, and which WAL to replay, to come to a moment: a pure function of the bucket's content."""

from collections.abc import Sequence
from dataclasses import dataclass

from ops_workflows.errors import RefusedError
from ops_workflows.repository.backup import Backup
from ops_workflows.repository.branches import on_branch_at
from ops_workflows.repository.reach import Reach, newest, window
from ops_workflows.repository.wal import Range, WalListing
from ops_workflows.restore.moment import AtLsn, AtName, AtTime, BackupEnd, Latest, Moment

_NOTHING = WalListing(())


@dataclass(frozen=True, slots=True)
class Route:
    """How to come to a moment.

    Attributes:
        moment: Where to.
        reach: From which backup, along which WAL.
    """

    moment: Moment
    reach: Reach

    @property
    def backup(self) -> Backup:
        """Where it begins."""
        return self.reach.backup

    @property
    def wal_bytes(self) -> int:
        """How much WAL is to be replayed at most."""
        return sum(leg.end - leg.start for leg in self.reach.legs)


def own_end(backup: Backup) -> Route:
    """The way to a backup's own end, for which its archives are enough."""
    return Route(BackupEnd(), Reach(backup, backup.timeline, (), backup.stop_lsn, None))


def choose(moment: Moment, reaches: Sequence[Reach], listing: WalListing) -> Route:
    """The shortest way to a moment: the newest backup before it whose WAL leads to it.

    Of several timelines that one is followed on which the server was at a time, or is now; else the newest.

    Args:
        moment: Where to.
        reaches: Of every backup that may be used.
        listing: The WAL in the bucket.

    Raises:
        RefusedError: It cannot be reached; the text says what can.
    """
    if not reaches:
        raise RefusedError("There is no backup to recover from: take one, `ops backup`.")
    fitting = [reach for reach in reaches if _fits(moment, reach)]
    if not fitting:
        raise RefusedError(f"{moment} cannot be reached. {describe_window(reaches, listing, listing.gaps())}")
    timeline = _timeline(moment, fitting, listing)
    on_it = [reach for reach in fitting if reach.timeline == timeline]
    match moment:
        case Latest():
            best = max(on_it, key=lambda reach: (reach.end, reach.backup.finished_at))
        case AtName():
            # Where the name lies, only replay can tell. From the window's first backup it comes into sight for certain.
            end = max(reach.end for reach in on_it)
            best = min((reach for reach in on_it if reach.end == end), key=lambda reach: reach.backup.finished_at)
        case _:
            best = max(on_it, key=lambda reach: (reach.backup.finished_at, reach.backup.id))
    return Route(moment, best)


def describe_window(reaches: Sequence[Reach], listing: WalListing = _NOTHING, gaps: Sequence[Range] = ()) -> str:
    """The moments that can be reached, and what is missing, for a person."""
    found = window(reaches, listing)
    if found is None:
        return "There is no backup to recover from."
    text = (
        f"The window is {found.since:%Y-%m-%d %H:%M:%S} to {found.until:%Y-%m-%d %H:%M:%S} UTC, "
        f"{found.first.stop_lsn} to {found.end}."
    )
    if found.attempt is not None:
        text += f" Later ones, up to {found.attempt:%Y-%m-%d %H:%M:%S}, may be in the WAL: an attempt tells."
    missing = ", ".join(f"{gap.start} to {gap.end} on timeline {gap.timeline}" for gap in gaps)
    return text + (f" WAL is missing: {missing}." if missing else "")


def _timeline(moment: Moment, fitting: Sequence[Reach], listing: WalListing) -> int:
    match moment:
        case AtTime(time):
            furthest = {reach.timeline: reach for reach in sorted(fitting, key=lambda reach: reach.end)}
            holding = [(reach, reach.holds_all(time) or reach.may_hold(time)) for reach in furthest.values()]
            return on_branch_at(time, holding, listing)
        case Latest() | AtName():
            return newest(fitting, listing).timeline
    return max(reach.timeline for reach in fitting)


def _fits(moment: Moment, reach: Reach) -> bool:
    match moment:
        case Latest() | BackupEnd() | AtName():
            return True
        case AtLsn(lsn):
            return reach.backup.stop_lsn <= lsn <= reach.end
        case AtTime(time):
            # Beyond the time until which the WAL is known to be whole, the attempt has to prove itself.
            return reach.backup.finished_at <= time and (reach.holds_all(time) or reach.may_hold(time))
