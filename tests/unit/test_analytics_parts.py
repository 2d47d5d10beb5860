"""What of the query log has to be looked at again, and what may be left out."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ops_workflows.analytics.parts import Mark, Part, Scope, Span, marks_after, scope
from ops_workflows.analytics.period import Grain, Period
from ops_workflows.analytics.standing import OLDEST

NEWEST = datetime(9999, 12, 31, tzinfo=UTC)
NOON = datetime(2026, 5, 20, 12, tzinfo=UTC)
APRIL, MAY, JUNE, JULY = (datetime(2026, month, 1, tzinfo=UTC) for month in (4, 5, 6, 7))
PARTS = [
    Part("rest", True, OLDEST, NEWEST, "0"),
    Part("april", False, APRIL, MAY, "a"),
    Part("may", False, MAY, JUNE, "m"),
    Part("june", False, JUNE, JULY, "0"),
]
HOUR = timedelta(hours=1)


def marks(until: datetime = NOON, **counters: str) -> dict[str, Mark]:
    """Marks of all parts, whose counters are as they are now unless named."""
    return {part.name: Mark(counters.get(part.name, part.counters or ""), until, NOON) for part in PARTS}


def spans(*bounds: datetime) -> list[Span]:
    return [Span(*pair) for pair in zip(bounds[::2], bounds[1::2], strict=True)]


def test_without_marks_everything_is_looked_at_also_where_there_is_no_part() -> None:
    assert scope(PARTS[1:], {}, NOON) == Scope(spans(OLDEST, NOON), whole=True)


def test_where_nothing_was_written_only_what_became_settled_since_is_looked_at() -> None:
    found = scope(PARTS, marks(NOON - 2 * HOUR), NOON)
    assert found == Scope(spans(NOON - 2 * HOUR, NOON), ["rest", "april", "may", "june"])
    assert scope(PARTS, marks(), NOON).spans == []


def test_a_part_that_was_written_to_is_looked_at_as_far_as_it_is_settled() -> None:
    assert scope(PARTS, marks(april="older"), NOON).spans == spans(APRIL, MAY)
    assert scope(PARTS, marks(may="older"), NOON).spans == spans(MAY, NOON)
    assert scope(PARTS, marks(june="older"), NOON).spans == []
    assert scope(PARTS, marks(april="older", may="older"), NOON).spans == spans(APRIL, NOON)


def test_the_default_part_has_what_no_other_has() -> None:
    late = JULY + 10 * HOUR
    assert scope(PARTS, marks(late, rest="older"), late).spans == spans(OLDEST, APRIL, JULY, late)
    assert scope([PARTS[0], *PARTS[2:]], marks(late, rest="older"), late).spans == spans(OLDEST, MAY, JULY, late)


def test_a_part_without_a_mark_or_without_counters_is_looked_at() -> None:
    found = marks()
    del found["april"]
    assert scope(PARTS, found, NOON).spans == spans(APRIL, MAY)
    unknown = [Part("may", False, MAY, JUNE, None) if part.name == "may" else part for part in PARTS]
    assert scope(unknown, marks(), NOON).spans == spans(MAY, NOON)


def test_bounds_within_an_hour_take_the_whole_hour_and_days_the_whole_day() -> None:
    half = Part("india", False, MAY - HOUR * 5.5, MAY + HOUR * 18.5, "new")
    found = scope([half], marks(), NOON)
    assert found.spans == spans(MAY - 6 * HOUR, MAY + 19 * HOUR)
    assert found.in_periods(Grain.HOUR, NOON) == found.spans
    assert found.in_periods(Grain.DAY, Grain.DAY.floor(NOON)) == spans(MAY - 24 * HOUR, MAY + 24 * HOUR)


def test_a_day_is_looked_at_once_it_is_over() -> None:
    midnight = Grain.DAY.floor(NOON)
    assert Scope(spans(NOON - HOUR, NOON)).in_periods(Grain.DAY, midnight) == []
    last = Scope(spans(midnight - HOUR, midnight))
    assert last.in_periods(Grain.DAY, midnight) == spans(midnight - 24 * HOUR, midnight)


def test_a_part_with_a_period_that_is_wrong_gets_no_mark() -> None:
    assert set(marks_after(PARTS, {}, NOON, [])) == {"rest", "april", "may", "june"}
    assert set(marks_after(PARTS, {}, NOON, [Period(Grain.DAY, APRIL)])) == {"rest", "may", "june"}
    assert set(marks_after(PARTS, {}, NOON, [Period(Grain.HOUR, APRIL - HOUR)])) == {"april", "may", "june"}


def test_a_mark_has_the_counters_from_before_and_remembers_when_everything_was_looked_at() -> None:
    later = NOON + HOUR
    assert marks_after(PARTS, marks(may="older"), later, [])["may"] == Mark("m", later, NOON)


@given(st.sets(st.sampled_from(["rest", "april", "may", "june"])), st.integers(0, 24 * 40), st.integers(0, 24 * 40))
def test_every_hour_is_looked_at_that_was_not_settled_or_may_have_other_rows(
    written: set[str], first: int, more: int
) -> None:
    before = MAY + first * HOUR
    until = before + more * HOUR
    found = scope(PARTS, marks(before, **dict.fromkeys(written, "older")), until)
    for start in (APRIL - HOUR, APRIL, MAY - HOUR, MAY, before - HOUR, before, JUNE - HOUR, JUNE, until - HOUR):
        part = next((each.name for each in PARTS[1:] if each.lower <= start < each.upper), "rest")
        hour = Span(start, start + HOUR)
        wanted = hour.end <= until and (part in written or start >= before)
        assert any(span.meets(hour) for span in found.spans) is wanted
