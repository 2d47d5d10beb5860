"""How long recovering would take right now, and when that will be longer than was promised. Pure, from past drills.

Each phase has a model of its own. Fetching and extracting grows with the bytes in the bucket: they are what is fetched,
decrypted and decompressed, of every backup that is put together, whereas the database's size tells neither of the
length of a chain nor of how well it compresses. Verifying and combining grow with the database, replaying with the WAL.
All else, and what passes between the phases, is constant.

A phase that grows takes a fixed part and a part per byte, both 0 or more. Where drills of different sizes tell the two
apart, they are those of Theil and Sen: the median of the slopes between pairs of drills, which a few odd ones do not
move (P. K. Sen, “Estimates of the Regression Coefficient Based on Kendall's Tau”, 1968,
https://doi.org/10.1080/01621459.1968.10480934). Where they do not, all of it counts as per byte: for a larger database
that can only be too slow, and a small drill, which is nearly all fixed part, promises nothing for a large one.

The interval is meant to hold four of five recoveries. It is made of two things, both cautious: the slopes that the
drills leave open, which part the further the size is from what was drilled; and by how much the drills themselves
missed what is expected of them. What lies far outside of what was drilled stays an extrapolation of straight lines.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import accumulate, combinations
from math import fsum
from statistics import median, quantiles

from ops_workflows.repository.backup import Backup
from ops_workflows.repository.drills import DrillRecord

_FETCH, _VERIFY, _COMBINE, _REPLAY = "fetch and extract", "verify", "combine", "replay"
_GROWING = (_FETCH, _VERIFY, _COMBINE, _REPLAY)
_BETWEEN = "between the phases"
_CHECK = "check: "  # how those phases begin that come after the first answer
_FEW = 3  # so many drills say how much drills vary, and so many pairs of them how much slopes do
_FACTOR_OF_FEW = 2.0
_VARIED = 1.5  # two drills whose sizes differ less than this say more of the machine's moods than of a byte's price
_LARGEST = 2**60  # bytes: no PostgreSQL has ever been that large
_DAY = timedelta(days=1)
_LEAST_HISTORY_DAYS = 2.0
_LEAST_APART_DAYS = 0.5  # less than the time between two nightly backups, of which one may be early and one late
_HORIZON_DAYS = 3652.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """What there would be to recover right now.

    Attributes:
        database_bytes: Of the whole database's files; more than 0.
        stored_bytes: In the bucket, of all backups that would be put together.
        wal_bytes: That would be replayed: since the last base, to the end.
        backups: How many would be put together; 1 for a full one.
    """

    database_bytes: int
    stored_bytes: int
    wal_bytes: int
    backups: int = 1


@dataclass(frozen=True, slots=True)
class Forecast:
    """An RTO that nobody measured.

    Attributes:
        expected_seconds: From “go” to the first answer.
        low_seconds: Beginning of the interval.
        high_seconds: Its end.
        by_phase: What is expected, in the order of a recovery; together they are `expected_seconds`.
        drills: How many it stands on.
    """

    expected_seconds: float
    low_seconds: float
    high_seconds: float
    by_phase: Mapping[str, float]
    drills: int

    @property
    def rough(self) -> bool:
        """Whether the drills are too few to measure an interval: then it goes from half to twice, or further."""
        return self.drills < _FEW


@dataclass(frozen=True, slots=True)
class Growth:
    """How fast a database grows.

    Attributes:
        bytes_per_day: Negative if it shrinks.
        days: The length of the history that says so.
        backups: How many are in it.
    """

    bytes_per_day: float
    days: float
    backups: int


@dataclass(frozen=True, slots=True)
class Breaking:
    """Where the objective breaks.

    Attributes:
        database_bytes: The smallest size at which it is not kept for sure; 0 if it is not even for an empty database.
        on: The day at the present growth, today if it is so already; None if the database shrinks, its growth is
            unknown, or the day is more than ten years ahead.
    """

    database_bytes: int
    on: date | None

    def is_before(self, day: date) -> bool:
        """Whether it breaks by then, at the present growth."""
        return self.on is not None and self.on <= day


type _Point = tuple[float, float]  # a size in bytes and seconds; for growth, days and a size
type _Line = tuple[float, float]  # seconds, and seconds per byte


@dataclass(frozen=True, slots=True)
class _Measured:
    """A drill that came to an answer: what there was to recover, and how long it and each phase took."""

    present: Present
    rto_seconds: float
    seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class _Phase:
    """The lines that the drills allow for a phase; the first is the expected one. None ever falls."""

    lines: tuple[_Line, ...]

    def at(self, size: int) -> tuple[float, float, float]:
        """Expected, lowest and highest seconds."""
        seconds = [fixed + per_byte * size for fixed, per_byte in self.lines]
        return seconds[0], min(seconds), max(seconds)


@dataclass(frozen=True, slots=True)
class _Model:
    """All phases, and by which factors a recovery may miss what is expected."""

    phases: Mapping[str, _Phase]
    low: float
    high: float
    drills: int

    def forecast(self, present: Present) -> Forecast:
        """Of recovering what there is."""
        each = _seconds(self.phases, present)
        return Forecast(
            expected_seconds=fsum(expected for expected, _, _ in each.values()),
            low_seconds=self.low * fsum(low for _, low, _ in each.values()),
            high_seconds=self.high * fsum(high for _, _, high in each.values()),
            by_phase={name: expected for name, (expected, _, _) in each.items()},
            drills=self.drills,
        )


def forecast(drills: Sequence[DrillRecord], present: Present) -> Forecast | None:
    """The RTO of recovering right now. A larger database, more stored bytes or more WAL never make it shorter.

    Args:
        drills: In any order, all counting alike: those on the machine, and of the time, that are to speak for now.
        present: What there is to recover.

    Returns:
        None where it would have to be guessed; `unmeasured` then says which phases.
    """
    model = _model(drills, present)
    return None if model is None else model.forecast(present)


def unmeasured(drills: Sequence[DrillRecord], present: Present) -> tuple[str, ...]:
    """The phases that would have to be gone through now and that no drill which came to an answer has measured."""
    return _unmeasured(_answered(drills), present)


def growth(backups: Sequence[Backup]) -> Growth | None:
    """How fast the database grows: the median of the slopes between backups that are at least half a day apart.

    Args:
        backups: Of one cluster, in any order, all counting alike: those of the time that is to speak for the future.

    Returns:
        None where they span less than two days: minutes are not made into years.
    """
    if not backups:
        return None
    first = min(backup.finished_at for backup in backups)
    sizes = [((backup.finished_at - first) / _DAY, float(backup.database_bytes)) for backup in backups]
    days = max(day for day, _ in sizes)
    if days < _LEAST_HISTORY_DAYS:
        return None
    slopes = _slopes(sizes, lambda earlier, later: later - earlier >= _LEAST_APART_DAYS)
    return Growth(median(slopes), days, len(backups))


def breaking(
    drills: Sequence[DrillRecord], present: Present, growth: Growth | None, objective_seconds: float, now: datetime
) -> Breaking | None:
    """At which size, and when, the interval's end reaches the objective.

    Args:
        drills: As for `forecast`.
        present: What there is to recover. Stored bytes and WAL are taken to grow in proportion with the database.
        growth: Of the database; None if unknown.
        objective_seconds: The promised RTO.
        now: The present moment; the day is one of its zone.

    Returns:
        None where there is no forecast, or the objective does not break at any size.
    """
    model = _model(drills, present)
    if model is None:
        return None

    def latest(database_bytes: int) -> float:
        return model.forecast(_grown(present, database_bytes)).high_seconds

    size = bisect_left(range(_LARGEST), objective_seconds, key=latest)
    return None if size == _LARGEST else Breaking(size, _day(size, present, growth, now))


def _day(database_bytes: int, present: Present, growth: Growth | None, now: datetime) -> date | None:
    if database_bytes <= present.database_bytes:
        return now.date()
    if growth is None or growth.bytes_per_day <= 0:
        return None
    days = (database_bytes - present.database_bytes) / growth.bytes_per_day
    return (now + timedelta(days=days)).date() if days <= _HORIZON_DAYS else None


def _grown(present: Present, database_bytes: int) -> Present:
    return Present(
        database_bytes=database_bytes,
        stored_bytes=present.stored_bytes * database_bytes // present.database_bytes,
        wal_bytes=present.wal_bytes * database_bytes // present.database_bytes,
        backups=present.backups,
    )


def _model(drills: Sequence[DrillRecord], present: Present) -> _Model | None:
    answered = _answered(drills)
    if not answered or _unmeasured(answered, present):
        return None
    # The one with most phases comes first, so that all are in the order of a recovery.
    fullest_first = sorted(answered, key=lambda drill: len(drill.seconds), reverse=True)
    names = dict.fromkeys(name for drill in fullest_first for name in drill.seconds)
    phases = {name: phase for name in names if (phase := _phase(answered, name))}
    between = [max(0.0, drill.rto_seconds - fsum(drill.seconds.values())) for drill in answered]
    phases[_BETWEEN] = _Phase(((median(between), 0.0),))
    low, high = _factors([_missed(phases, drill) for drill in answered])
    return _Model(phases, low, high, len(answered))


def _answered(drills: Iterable[DrillRecord]) -> list[_Measured]:
    return [
        _Measured(
            Present(
                database_bytes=drill.database_bytes,
                stored_bytes=drill.stored_bytes,
                wal_bytes=drill.wal_bytes,
                backups=drill.backups,
            ),
            drill.rto_seconds,
            {name: seconds for name, seconds in drill.seconds.items() if not name.startswith(_CHECK)},
        )
        for drill in drills
        if drill.rto_seconds is not None
    ]


def _sizes(present: Present) -> dict[str, int]:
    """What each growing phase that is gone through grows with, in bytes."""
    sizes = {_FETCH: present.stored_bytes, _VERIFY: present.database_bytes, _REPLAY: present.wal_bytes}
    return sizes | ({_COMBINE: present.database_bytes} if present.backups > 1 else {})


def _points(answered: Iterable[_Measured], name: str) -> list[_Point]:
    return [
        (size, drill.seconds[name])
        for drill in answered
        if name in drill.seconds and (size := _sizes(drill.present).get(name)) is not None
    ]


def _unmeasured(answered: Sequence[_Measured], present: Present) -> tuple[str, ...]:
    return tuple(
        name
        for name, size in _sizes(present).items()
        if size and not any(measured for measured, _ in _points(answered, name))
    )


def _phase(answered: Sequence[_Measured], name: str) -> _Phase | None:
    if name not in _GROWING:
        return _Phase(((median(drill.seconds[name] for drill in answered if name in drill.seconds), 0.0),))
    points = _points(answered, name)
    return _Phase(tuple(_lines(points))) if points else None


def _lines(points: Sequence[_Point]) -> Iterator[_Line]:
    usual = median(seconds for _, seconds in points)
    if not any(size for size, _ in points):
        yield usual, 0.0
        return
    rate = _rate(points)
    slopes = _slopes(points, lambda smaller, larger: larger > smaller and larger >= _VARIED * smaller)
    # Where more bytes took no longer, noise hides what a byte costs: that they are free has not been shown.
    if len(slopes) < _FEW or median(slopes) <= 0:
        yield 0.0, rate
        yield usual, 0.0
        return
    tenths = quantiles(slopes, n=10)
    for slope in (median(slopes), max(0.0, tenths[0]), tenths[-1]):
        fixed = median(seconds - slope * size for size, seconds in points)
        yield (fixed, slope) if fixed >= 0 else (0.0, rate)


def _rate(points: Sequence[_Point]) -> float:
    """Seconds per byte of the line through zero that misses the points by the least, in sum.

    That is the median of their rates, each counting by its size: the small ones, whose rates are mostly fixed part, do
    not count for much. Of two that are equally large it is the slower one.
    """
    rates = sorted((seconds / size, size) for size, seconds in points if size)
    total = sum(size for _, size in rates)
    upto = accumulate(size for _, size in rates)
    return next(rate for (rate, _), counted in zip(rates, upto, strict=True) if 2 * counted > total)


def _slopes(points: Iterable[_Point], apart: Callable[[float, float], bool]) -> list[float]:
    """Between all pairs that are far enough apart."""
    return [
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for earlier, later in combinations(sorted(points), 2)
        if apart(earlier[0], later[0])
    ]


def _seconds(phases: Mapping[str, _Phase], present: Present) -> dict[str, tuple[float, float, float]]:
    sizes = _sizes(present)
    return {
        name: phase.at(sizes.get(name, 0)) for name, phase in phases.items() if name in sizes or name not in _GROWING
    }


def _missed(phases: Mapping[str, _Phase], drill: _Measured) -> float:
    """By which factor a drill took longer than what is expected of it."""
    expected = fsum(seconds for seconds, _, _ in _seconds(phases, drill.present).values())
    return drill.rto_seconds / expected if expected else 1.0


def _factors(missed: Sequence[float]) -> tuple[float, float]:
    """The lowest and the highest tenth; of a few drills, beyond what any of them missed, since others would."""
    if len(missed) < _FEW:
        return min(1 / _FACTOR_OF_FEW, *missed), max(_FACTOR_OF_FEW, *missed)
    tenths = quantiles(missed, n=10)
    return min(1.0, max(0.0, tenths[0])), max(1.0, tenths[-1])
