"""Grandfather, father, son: of the newest so many days, weeks and months (UTC) that have anything, each keeps its last.

Periods without anything do not count, so that nothing is let go merely because time passes. The rule is the same for
backups and for dumps.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

_DAY = "%Y-%m-%d"
_PERIODS = (("daily", _DAY), ("weekly", "%G-W%V"), ("monthly", "%Y-%m"))


class Finished(Protocol):
    """Something with a name that was finished at a moment."""

    @property
    def id(self) -> str:
        """Its name."""

    @property
    def finished_at(self) -> datetime:
        """When."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How many days, weeks and months keep something."""

    daily: int
    weekly: int
    monthly: int


def of_periods[T: Finished](
    past: Sequence[T],
    faulty: AbstractSet[str],
    policy: Policy,
    stands_for: Callable[[T, T], bool] = lambda _later, _earlier: True,
) -> Iterator[tuple[str, str]]:
    """What the periods keep, each with the period as the reason.

    Args:
        past: Oldest first.
        faulty: Names of those that something speaks against: they hold a period only if nothing else can.
        policy: How many periods.
        stands_for: Whether one makes another, older one of the same period needless.
    """
    for (name, form), count in zip(_PERIODS, (policy.daily, policy.weekly, policy.monthly), strict=True):
        periods: dict[str, list[T]] = {}
        for each in reversed(past):
            periods.setdefault(_period(each, form), []).append(each)
        for period in sorted(periods, reverse=True)[:count]:
            held: list[T] = []
            for each in [one for one in periods[period] if one.id not in faulty] or periods[period]:
                if not any(stands_for(later, each) for later in held):
                    held.append(each)
                    yield each.id, f"{name} {period}"


def why_gone(one: Finished, holders: Mapping[str, str], policy: Policy) -> str:
    """Why nothing keeps it.

    Args:
        one: What goes.
        holders: By reason, what is kept for it.
        policy: The policy.
    """
    day = f"daily {_period(one, _DAY)}"
    if day in holders:
        return f"{day} is {holders[day]}"
    return f"past the {policy.daily} daily, {policy.weekly} weekly and {policy.monthly} monthly"


def _period(one: Finished, form: str) -> str:
    return f"{one.finished_at.astimezone(UTC):{form}}"
