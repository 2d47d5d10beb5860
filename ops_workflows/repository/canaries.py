"""Canaries: rows written through the day, each known to the bucket with the time and the place of its commit.

    canaries/<before>-<after>-<timeline>-<LSN>-<token>.json

The row is a heartbeat whose sender is the canary. The name says all, so a listing is enough to know which of them a
recovery to some moment must bring back, and which it must not.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Self

from ops_workflows.postgres.lsn import Lsn
from ops_workflows.repository.backup import utc_now
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.proofs import is_ahead
from ops_workflows.repository.reach import Reach

_BEFORE_THE_OLDEST = timedelta(days=1)
_TIME = "%Y%m%dT%H%M%S.%fZ"
_NAME = re.compile(
    r"(?P<before>\d{8}T\d{6}\.\d{6}Z)-(?P<after>\d{8}T\d{6}\.\d{6}Z)-"
    r"(?P<timeline>[0-9A-F]{8})-(?P<lsn>[0-9A-F]{16})-(?P<token>[0-9a-f]{16})\.json"
)


@dataclass(frozen=True, slots=True, order=True)
class Canary:
    """A row that was committed between two moments of the server's clock.

    Attributes:
        before: The clock before it was written.
        after: The clock once its commit had been acknowledged.
        timeline: On which it was committed.
        lsn: Its commit record lies before this place.
        token: By which the row is known, 16 hexadecimal digits.
    """

    before: datetime
    after: datetime
    timeline: int
    lsn: Lsn
    token: str

    @property
    def sender(self) -> str:
        """The sender of its heartbeat."""
        return f"canary {self.token}"

    @property
    def name(self) -> str:
        """The last part of its key."""
        times = "-".join(moment.astimezone(UTC).strftime(_TIME) for moment in (self.before, self.after))
        return f"{times}-{self.timeline:08X}-{self.lsn:016X}-{self.token}.json"

    def is_before(self, timeline: int, place: Lsn) -> bool:
        """Whether it was committed before a place of the log, on the same timeline."""
        return self.timeline == timeline and self.lsn <= place

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """A canary from its name; None when it is none."""
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        before, after = (datetime.strptime(found[each], _TIME).replace(tzinfo=UTC) for each in ("before", "after"))
        return cls(before, after, int(found["timeline"], 16), Lsn(int(found["lsn"], 16)), found["token"])


def note(repository: Repository, canary: Canary) -> None:
    """Make a canary known to the bucket.

    Raises:
        StorageError: The bucket did not take it.
    """
    content = f'{{"sender": "{canary.sender}", "committed_by": "{canary.after.isoformat()}", "lsn": "{canary.lsn}"}}\n'
    repository.store.put(repository.layout.canaries + canary.name, content.encode(), if_absent=True)


def canaries(repository: Repository) -> list[Canary]:
    """All that the bucket knows, oldest first, but for those of a time that has not come.

    Those were planted while the server's clock was ahead: they tell neither an age nor where a moment lies.

    Raises:
        StorageError: The bucket did not answer.
    """
    prefix, now = repository.layout.canaries, utc_now()
    names = (found.key.removeprefix(prefix) for found in repository.store.objects(prefix))
    known = (canary for name in names if (canary := Canary.parse(name)) is not None)
    return sorted(canary for canary in known if not is_ahead(canary.after, now))


def canaries_since(oldest: datetime) -> datetime:
    """From when on canaries are of use, if the oldest backup ended at a moment: the last from before it is, too."""
    return oldest - _BEFORE_THE_OLDEST


def sweep_canaries(repository: Repository, before: datetime) -> int:
    """Delete those from before a moment, into which nothing is recovered any more; how many.

    Raises:
        StorageError: The bucket refused it.
    """
    old = [each for each in canaries(repository) if each.after < before]
    return repository.store.delete(repository.layout.canaries + each.name for each in old)


def along(known: Iterable[Canary], reach: Reach) -> list[Canary]:
    """Those that a way forward passes: their commits are in the backup, or in the log that is replayed after it."""
    start = max([reach.backup.stop_lsn, *(leg.start for leg in reach.legs[:1])])

    def is_passed(canary: Canary) -> bool:
        if canary.is_before(reach.backup.timeline, start):
            return True
        return any(leg.timeline == canary.timeline and leg.start <= canary.lsn <= leg.end for leg in reach.legs)

    return [canary for canary in known if is_passed(canary)]


@dataclass(frozen=True, slots=True)
class Interval:
    """Between two canaries that follow one another: at any moment in it the first is there and the second is not."""

    first: Canary
    second: Canary

    @property
    def seconds(self) -> float:
        """How long it is."""
        return (self.second.before - self.first.after).total_seconds()


def intervals(passed: Sequence[Canary], since: datetime, until: datetime | None = None) -> list[Interval]:
    """The intervals between canaries of one way, oldest first; none where the server's clock was set back.

    The way leads to the second over the first, so that has to lie further along the log: where it does not, its time is
    another clock's.

    Args:
        passed: From `along`, oldest first.
        since: The backup's end, before which nothing can be recovered.
        until: Leave out what comes after; None for no bound.
    """
    found = (Interval(first, second) for first, second in pairwise(passed))
    return [
        each
        for each in found
        if each.seconds > 0
        and each.first.lsn < each.second.lsn
        and each.first.after >= since
        and (until is None or each.second.before <= until)
    ]
