"""Which of several branches of the log is the living one, and which one a moment lies on.

The log forks when a standby is promoted and when a recovery ends, and the server goes on along the new timeline. But
the old one may have gone on, too: with commits that a promotion has lost, with minutes that a recovery in place has
taken back, or since a server was brought back as it had been. PostgreSQL follows the highest number. Here the branch is
followed that was written last, and to a time the branch that the server was on then.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Protocol

from ops_workflows.postgres.lsn import Lsn
from ops_workflows.repository.wal import Range, WalListing


class _End(Protocol):
    """How far a timeline goes."""

    @property
    def timeline(self) -> int:
        """Which."""

    @property
    def end(self) -> Lsn:
        """Its last place."""


def living(listing: WalListing) -> Range | None:
    """The end of the log: the last range of the branch that was written last; None where there is no log."""
    ends = {part.timeline: part for part in listing.ranges()}  # of each timeline the last
    best: Range | None = None
    for part in sorted(ends.values(), key=lambda part: part.timeline, reverse=True):
        if best is None or (went_on(part, best.timeline, listing) and _is_later(part, best, listing)):
            best = part
    return best


def went_on(part: _End, timeline: int, listing: WalListing) -> bool:
    """Whether a timeline has log besides what a later one has taken over from it."""
    left = [branch.at for branch in listing.branches.get(timeline, ()) if branch.parent == part.timeline]
    return not left or part.end > left[0]


def on_branch_at(moment: datetime, timelines: Iterable[tuple[_End, bool]], listing: WalListing) -> int:
    """The timeline that the server was on at a moment.

    Args:
        moment: Which.
        timelines: Those that lead there: how far each goes, and whether it may hold all up to the moment.
        listing: The log. A timeline began, at the latest, when its history file was stored.
    """
    ordered = sorted(timelines, key=lambda each: each[0].timeline, reverse=True)
    best, holds = ordered[0]
    for older, holds_too in ordered[1:]:
        if not (holds_too and went_on(older, best.timeline, listing)):
            continue
        begun = listing.begun.get(best.timeline)
        if not holds or (begun is not None and begun > moment):
            best, holds = older, True
    return best.timeline


def _is_later(part: Range, other: Range, listing: WalListing) -> bool:
    known, known_other = _known(part, listing), _known(other, listing)
    if known is not None and known_other is not None:
        return known > known_other
    stored, stored_other = _stored(part, listing), _stored(other, listing)
    return stored is not None and stored_other is not None and stored > stored_other


def _known(part: Range, listing: WalListing) -> datetime | None:
    """The last time, by the server's clock, at which this was the end of all it had; if that is known."""
    return max((each.all_until for each in listing.within(part) if each.all_until), default=None)


def _stored(part: Range, listing: WalListing) -> datetime | None:
    return max((each.stored_at for each in listing.within(part) if each.stored_at), default=None)
