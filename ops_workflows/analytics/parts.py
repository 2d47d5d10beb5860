"""Which parts of the query log may hold other rows than when they were counted last: the rest need not be read again.

PostgreSQL counts the rows that are written to each partition. A transaction adds its share after it has committed, so
counters that were read before a partition was counted are overtaken by every row that was not in that count. They may
be seconds late, or as late as the next transaction of the same session lasts: such a row is found by a later look.
Where counters were lost, reset, or are those of another server, that is seen, and everything is counted. Once a day it
is counted anyhow: that finds what was written with `track_counts` off for a session, and statistics altered by hand.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files

from ops_workflows.analytics.period import Grain, Period
from ops_workflows.analytics.standing import OLDEST
from ops_workflows.postgres.connection import Connection

_NEWEST = datetime(9999, 12, 31, tzinfo=UTC)
_PARTS = files(__package__).joinpath("parts.sql").read_text().encode()
_MARKS = """
    select part, counters, settled_until, whole_at from ops.query_log_marks
    where whole_at > now() - interval '1 day' and whole_at <= now()"""
_LOCK = "select pg_advisory_xact_lock(hashtextextended('ops.query_log_marks', 0))"
_UNMARK = "delete from ops.query_log_marks where part <> all(%s)"
_MARK = """
    insert into ops.query_log_marks (part, counters, settled_until, whole_at)
    values (%s, %s, %s, coalesce(%s, now()))
    on conflict (part) do update set
        counters = excluded.counters, settled_until = excluded.settled_until, whole_at = excluded.whole_at"""


@dataclass(frozen=True, slots=True)
class Span:
    """From a moment to before another."""

    start: datetime
    end: datetime

    def meets(self, other: "Span | Period") -> bool:
        """Whether they have a moment in common."""
        return self.start < other.end and other.start < self.end


@dataclass(frozen=True, slots=True)
class Part:
    """A partition of the log; or all of it, if it has none by time.

    Attributes:
        name: Of the table.
        is_default: Whether it holds what no other does; its bounds say nothing then.
        lower: The earliest moment of its rows.
        upper: The first moment that is too late for them.
        counters: What is different whenever something was written to it; None, if there is nothing to rely on.
    """

    name: str
    is_default: bool
    lower: datetime
    upper: datetime
    counters: str | None


@dataclass(frozen=True, slots=True)
class Mark:
    """A part, when it was counted last and agreed with its statistics.

    Attributes:
        counters: Of that time, read before.
        settled_until: Up to where it was counted.
        whole_at: When the whole log was counted last.
    """

    counters: str
    settled_until: datetime
    whole_at: datetime


@dataclass(frozen=True, slots=True)
class Scope:
    """What a run looks at.

    Attributes:
        spans: Whole hours, in the order of time, up to the safe horizon.
        unchanged: Names of the parts that are left out, but for what has become settled since.
        whole: Whether that is all there is, whatever the counters say.
    """

    spans: Sequence[Span]
    unchanged: Sequence[str] = ()
    whole: bool = False

    def in_periods(self, grain: Grain, until: datetime) -> list[Span]:
        """The spans widened to whole periods, of those that end by a moment at which one begins."""
        return _merged(
            Span(grain.floor(each.start), min(_ceiling(grain, each.end), until))
            for each in self.spans
            if grain.floor(each.start) < until
        )


def read_parts(connection: Connection) -> list[Part]:
    """The parts as they are; to be read before anything of them is counted.

    Args:
        connection: Outside a transaction, of a server that is no standby.
    """
    with connection.transaction():
        # Bounds are shown in the zone and style of the session, in which not every moment can be told.
        connection.execute("set local timezone = 'UTC'")
        connection.execute("set local datestyle = 'ISO, YMD'")
        found = connection.execute(_PARTS, {"oldest": OLDEST, "newest": _NEWEST}).fetchall()
    return [Part(*row) for row in found]


def read_marks(connection: Connection) -> dict[str, Mark]:
    """Marks by the names of their parts; none, if the whole log was not counted for a day."""
    return {name: Mark(*rest) for name, *rest in connection.execute(_MARKS)}


def write_marks(connection: Connection, marks: Mapping[str, Mark], *, whole: bool) -> None:
    """Put them into the place of all others.

    Args:
        connection: Outside a transaction.
        marks: By the names of their parts.
        whole: The whole log was counted just now.
    """
    with connection.transaction():
        connection.execute(_LOCK)
        connection.execute(_UNMARK, [list(marks)])
        for name, each in marks.items():
            connection.execute(_MARK, [name, each.counters, each.settled_until, None if whole else each.whole_at])


def forget_marks(connection: Connection) -> None:
    """Let the next run count the whole log."""
    connection.execute("delete from ops.query_log_marks")


def scope(parts: Sequence[Part], marks: Mapping[str, Mark], until: datetime) -> Scope:
    """What has to be looked at.

    Args:
        parts: As they are.
        marks: Of the last time; without any, everything is looked at.
        until: The last whole hour that is settled.
    """
    if not marks:
        return Scope([Span(OLDEST, until)], whole=True)
    spans: list[Span] = []
    unchanged: list[str] = []
    for part in parts:
        mark = marks.get(part.name)
        since = OLDEST
        if mark is not None and mark.counters == part.counters:
            since = mark.settled_until
            unchanged.append(part.name)
        spans += [
            Span(Grain.HOUR.floor(max(each.start, since)), _ceiling(Grain.HOUR, each.end))
            for each in _spans(part, parts, until)
            if since < each.end
        ]
    return Scope(_merged(spans), unchanged)


def marks_after(
    parts: Sequence[Part], before: Mapping[str, Mark], until: datetime, wrong: Iterable[Period]
) -> dict[str, Mark]:
    """Marks of all parts in which everything agrees.

    Args:
        parts: As they were before they were counted.
        before: The marks that the scope was made with.
        until: Up to where they were counted.
        wrong: Periods that do not agree with the log, even now.
    """
    wrong = list(wrong)
    whole_at = max((each.whole_at for each in before.values()), default=until)
    return {
        part.name: Mark(part.counters, until, whole_at)
        for part in parts
        if part.counters is not None
        and not any(span.meets(period) for span in _spans(part, parts, until) for period in wrong)
    }


def _spans(part: Part, parts: Sequence[Part], until: datetime) -> list[Span]:
    """Of which times a part has rows, up to a moment."""
    if not part.is_default:
        return [Span(part.lower, min(part.upper, until))] if part.lower < min(part.upper, until) else []
    gaps, reached = [], OLDEST
    for other in sorted((each for each in parts if not each.is_default), key=lambda each: each.lower):
        if reached < min(other.lower, until):
            gaps.append(Span(reached, min(other.lower, until)))
        reached = max(reached, other.upper)
    if reached < until:
        gaps.append(Span(reached, until))
    return gaps


def _ceiling(grain: Grain, moment: datetime) -> datetime:
    whole = grain.floor(moment)
    return whole if whole == moment else whole + grain.length


def _merged(spans: Iterable[Span]) -> list[Span]:
    merged: list[Span] = []
    for each in sorted(spans, key=lambda each: each.start):
        if each.start >= each.end:
            continue
        if merged and each.start <= merged[-1].end:
            merged[-1] = Span(merged[-1].start, max(merged[-1].end, each.end))
        else:
            merged.append(each)
    return merged
