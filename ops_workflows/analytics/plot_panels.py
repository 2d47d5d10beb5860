"""What a plot shows of each question: which numbers, in which unit, along which axis."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ops_workflows.analytics.answers import Answer, Question

# Told apart also by those who see fewer colours (Okabe and Ito, 2008), and dark enough for letters on white.
_BLUE, _GREEN, _VERMILION = "#0072b2", "#008561", "#d55e00"
_MOST_STEPS = 5
_MOST_POWERS = 12
_NARROW = 8  # times the least; what lies closer together is read best along an axis that begins at zero
_SOME = 10  # along a linear axis, milliseconds below this can be told from zero


class Unit(StrEnum):
    """What a number counts."""

    COUNT = "count"
    MILLISECONDS = "milliseconds"
    SHARE = "share"

    def say(self, value: float) -> str:
        """For a person."""
        if self is Unit.SHARE:
            return f"{value:.1%}"
        return f"{value:,.0f} ms" if self is Unit.MILLISECONDS else f"{value:,.0f}"

    def tick(self, value: float) -> str:
        """For an axis that has the unit beside it."""
        return f"{value:.0%}" if self is Unit.SHARE else f"{value:,.0f}"


class Scale(StrEnum):
    """How far apart numbers are along an axis."""

    LINEAR = "linear"
    LOG = "log"
    FROM_ZERO = "symlog"
    """As the logarithm from 1 on, and evenly from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of each answer.

    Attributes:
        name: What stands beside its line.
        color: Of its line, and of the name.
        of: Reads it; None where there is none.
    """

    name: str
    color: str
    of: Callable[[Answer], float | None]


@dataclass(frozen=True, slots=True)
class Panel:
    """Measures that share an axis.

    Attributes:
        label: What the axis says, with the unit.
        unit: Of them all.
        measures: From the least to the greatest.
    """

    label: str
    unit: Unit
    measures: tuple[Measure, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """How a question is shown.

    Attributes:
        title: What is to be seen.
        panels: One below the other, or beside it.
        order: What categories are sorted by, the greatest first.
        note: How exact it is.
    """

    title: str
    panels: tuple[Panel, ...]
    order: Measure
    note: str = ""


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis that has room for all its numbers.

    Attributes:
        scale: How far apart they are.
        low: Where it begins.
        high: Where it ends.
        ticks: The numbers that are written beside it.
    """

    scale: Scale
    low: float
    high: float
    ticks: tuple[float, ...]


_QUERIES = Measure("queries", _BLUE, lambda each: each.queries)
_USERS = Measure("users", _GREEN, lambda each: each.users)
_HIT_RATE = Measure("hit rate", _BLUE, lambda each: each.hit_rate)
_P50 = Measure("p50", _GREEN, lambda each: each.p50_ms)
_P95 = Measure("p95", _BLUE, lambda each: each.p95_ms)
_P99 = Measure("p99", _VERMILION, lambda each: each.p99_ms)
_NUMBER = Panel("queries", Unit.COUNT, (_QUERIES,))

SHOWN = {
    Question.TOP: Shown("Queries", (_NUMBER,), _QUERIES),
    Question.LATENCY: Shown(
        "Response times",
        (Panel("response time, milliseconds", Unit.MILLISECONDS, (_P50, _P95, _P99)),),
        _P95,
        "50, 95 and 99 % of the queries were answered within p50, p95 and p99, each of which is known within 1 %.",
    ),
    Question.CACHE_HIT: Shown(
        "Cache hit rate", (Panel("queries that the cache answered, %", Unit.SHARE, (_HIT_RATE,)),), _HIT_RATE
    ),
    Question.GROWTH: Shown(
        "Queries and distinct users",
        (_NUMBER, Panel("distinct users", Unit.COUNT, (_USERS,))),
        _QUERIES,
        "Distinct users are those that are known, with a standard error of 1.6 %.",
    ),
}


def values(panel: Panel, answers: Iterable[Answer]) -> list[float]:
    """All numbers that a panel has to show."""
    found = (measure.of(each) for each in answers for measure in panel.measures)
    return [value for value in found if value is not None]


def axis(unit: Unit, shown: Sequence[float]) -> Axis:
    """The axis for these numbers, of which there is one at least.

    A share goes from 0 to 100 %. What is counted begins at zero, and so do response times that lie close together;
    where they do not, as p50 and p99 seldom do, their logarithm tells all of them apart.
    """
    if unit is Unit.SHARE:
        return Axis(Scale.LINEAR, 0, 1, (0, 0.25, 0.5, 0.75, 1))
    low, high = min(shown), max(shown)
    if unit is Unit.COUNT or high <= max(low * _NARROW, _SOME):
        step = _step(high)
        steps = max(1, math.ceil(high / step))
        return Axis(Scale.LINEAR, 0, steps * step, tuple(step * each for each in range(steps + 1)))
    if low < 1:
        return Axis(Scale.FROM_ZERO, 0, high * 1.2, (0, *_powers(1, high * 1.2)))
    return Axis(Scale.LOG, low / 1.2, high * 1.2, _powers(low / 1.2, high * 1.2))


def _step(high: float) -> int:
    """1, 2 or 5 times a power of ten, of which few steps lead to there."""
    decade = 1
    while True:
        for each in (1, 2, 5):
            if high <= decade * each * _MOST_STEPS:
                return decade * each
        decade *= 10


def _powers(low: float, high: float) -> tuple[float, ...]:
    """Powers of ten in between, and 2 and 5 times them where there is room."""
    decades = [10.0**power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    written = [each * decade for decade in decades for each in (1, 2, 5) if low <= each * decade <= high]
    return tuple(written if len(written) <= _MOST_POWERS else [each for each in decades if low <= each <= high])


def apart(places: Sequence[float], gap: float) -> list[float]:
    """Places for labels near where they belong, none nearer to another than the gap.

    Args:
        places: Where they belong, in any order.
        gap: Between two of them, at least.

    Returns:
        In the order of the places. Labels that would touch are moved as one, by no more than it takes.
    """
    order = sorted(range(len(places)), key=places.__getitem__)
    groups: list[tuple[float, int]] = []  # their middles, and how many labels each has
    for index in order:
        middle, size = places[index], 1
        while groups and groups[-1][0] + gap * (groups[-1][1] + size) / 2 > middle:
            before, others = groups.pop()
            middle, size = (before * others + middle * size) / (others + size), others + size
        groups.append((middle, size))
    moved = [middle + gap * (at - (size - 1) / 2) for middle, size in groups for at in range(size)]
    return [moved[order.index(index)] for index in range(len(places))]
