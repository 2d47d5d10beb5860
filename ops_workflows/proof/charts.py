"""Where the marks of a drill report's charts go: geometry only, the template draws it.

Across, everything is per cent of the width, and down it is pixels: so a chart fits a phone without its text shrinking.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

ROW = 42  # pixels from one bar to the next
TOP, BOTTOM, AXIS, HEIGHT = 24, 156, 168, 212  # pixels: the plot, the line below it, all of it
UNKNOWN = 182  # where a value stands that is not known
_LEFT, _RIGHT = 15.0, 96.0  # where the first and the last drill stand; the labels of the scale are on the left
_LEAST = 0.1  # seconds; what is shorter stands here, because the scale has no zero
_CALM = 4.0  # the scale spans at least this factor: mere jitter would look like news, and no label might fall inside
_APART = 28.0  # pixels between two labels of the scale
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_COARSE = (0.1, 1, 10, _MINUTE, 10 * _MINUTE, _HOUR, 6 * _HOUR, _DAY, 10 * _DAY, 100 * _DAY)
_FINE_SECONDS = (0.2, 0.5, 2, 5, 20, 30, 120, 300, 1200, 1800)
_FINE = (*_FINE_SECONDS, 2 * _HOUR, 4 * _HOUR, 12 * _HOUR, 2 * _DAY, 5 * _DAY, 20 * _DAY, 50 * _DAY)
_FEW = 3


@dataclass(frozen=True, slots=True)
class Bar:
    """One phase; it begins where the one before ended.

    Attributes:
        left: Per cent of the width.
        width: Likewise.
        y: Its upper edge, label included, in pixels.
    """

    name: str
    seconds: float
    left: float
    width: float
    y: int


@dataclass(frozen=True, slots=True)
class Bars:
    """Phases one after another; together they are as wide as the chart."""

    bars: tuple[Bar, ...]
    seconds: float

    @property
    def height(self) -> int:
        """In pixels."""
        return ROW * len(self.bars)


@dataclass(frozen=True, slots=True)
class Measure:
    """What one drill measured.

    Attributes:
        seconds: None if it is not known.
        objective: In seconds, as it was then.
    """

    at: datetime
    seconds: float | None
    objective: float

    @property
    def kept(self) -> bool | None:
        """Whether it kept the objective; None if it is not known."""
        return None if self.seconds is None else self.seconds <= self.objective


@dataclass(frozen=True, slots=True)
class Point:
    """A measure and its place; y in pixels, x in per cent."""

    measure: Measure
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Line:
    """From one place to another; y in pixels, x in per cent."""

    x1: float
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True, slots=True)
class Tick:
    """A line of the scale."""

    label: str
    y: float


@dataclass(frozen=True, slots=True)
class History:
    """One measure over the drills, on a logarithmic scale: the objective may be a thousand times what was measured.

    Attributes:
        points: One for each drill, oldest first.
        lines: Between neighbours that are both known.
        objective: A line that spares the labels of the scale, with a step where the objective was changed.
        ticks: The scale, lowest first.
    """

    points: tuple[Point, ...]
    lines: tuple[Line, ...]
    objective: tuple[Line, ...]
    ticks: tuple[Tick, ...]

    def count(self, kept: bool | None) -> int:
        """How many drills kept the objective, missed it (False), or do not know (None)."""
        return sum(point.measure.kept is kept for point in self.points)


def span(seconds: float | None) -> str:
    """A length of time, for a person; None is not known."""
    if seconds is None:
        return "unknown"
    if 0 < abs(seconds) < _LEAST:
        return f"{seconds * 1000:.0f} ms"
    if round(seconds, 1) < _MINUTE:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    whole = round(seconds)
    for long, unit, short, less in ((_DAY, "d", _HOUR, "h"), (_HOUR, "h", _MINUTE, "min"), (_MINUTE, "min", 1, "s")):
        if whole >= long:
            rest = whole % long // short
            return f"{whole // long} {unit}" + (f" {rest} {less}" if rest else "")
    return f"{whole} s"


def bars(phases: Mapping[str, float]) -> Bars:
    """Lay phases out, one after another in their order.

    Args:
        phases: Seconds by name.
    """
    total = sum(phases.values())
    whole = total or 1.0
    laid, before = [], 0.0
    for row, (name, seconds) in enumerate(phases.items()):
        laid.append(Bar(name, seconds, 100 * before / whole, 100 * seconds / whole, row * ROW))
        before += seconds
    return Bars(tuple(laid), total)


def history(measures: Sequence[Measure]) -> History:
    """Lay out what drills measured, over the time at which they were.

    Args:
        measures: Of at least one drill, oldest first.
    """
    scale = _Scale.of(measures)
    places = _places([measure.at for measure in measures])
    points = tuple(
        Point(measure, x, UNKNOWN if measure.seconds is None else scale.y(measure.seconds))
        for measure, x in zip(measures, places, strict=True)
    )
    known = [(a, b) for a, b in pairwise(points) if a.measure.seconds is not None and b.measure.seconds is not None]
    return History(
        points=points,
        lines=tuple(Line(a.x, a.y, b.x, b.y) for a, b in known),
        objective=tuple(_objective(points, scale)),
        ticks=tuple(scale.ticks()),
    )


@dataclass(frozen=True, slots=True)
class _Scale:
    """From seconds to pixels; low and high stand at the edges of the plot."""

    low: float
    high: float

    @classmethod
    def of(cls, measures: Sequence[Measure]) -> "_Scale":
        seconds = [measure.seconds for measure in measures if measure.seconds is not None]
        shown = [max(each, _LEAST) for each in (*seconds, *(measure.objective for measure in measures))]
        widen = max(1.0, math.sqrt(_CALM * min(shown) / max(shown)))
        return cls(min(shown) / widen, max(shown) * widen)

    def y(self, seconds: float) -> float:
        share = math.log(max(seconds, _LEAST) / self.low) / math.log(self.high / self.low)
        return BOTTOM - share * (BOTTOM - TOP)

    def ticks(self) -> Iterator[Tick]:
        coarse, fine = self._inside(_COARSE), self._inside((*_COARSE, *_FINE))
        before = math.inf
        for seconds in coarse if len(coarse) >= _FEW else fine:
            if before - self.y(seconds) >= _APART:
                before = self.y(seconds)
                yield Tick(span(seconds), before)

    def _inside(self, candidates: Sequence[float]) -> list[float]:
        return sorted(each for each in candidates if self.low <= each <= self.high)


def _places(moments: Sequence[datetime]) -> list[float]:
    first, last = moments[0], moments[-1]
    if first == last:
        return [(_LEFT + _RIGHT) / 2] * len(moments)
    return [_LEFT + (_RIGHT - _LEFT) * ((moment - first) / (last - first)) for moment in moments]


def _objective(points: Sequence[Point], scale: _Scale) -> Iterator[Line]:
    left, y = _LEFT - 2, scale.y(points[0].measure.objective)
    for point in points[1:]:
        new = scale.y(point.measure.objective)
        if new != y:
            yield Line(left, y, point.x, y)
            yield Line(point.x, y, point.x, new)
            left, y = point.x, new
    yield Line(left, y, 100.0, y)
