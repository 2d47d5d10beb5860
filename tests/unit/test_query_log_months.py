"""Which months of the query log are made and which go, case by case, without a database."""

from datetime import UTC, datetime, timedelta, tzinfo

import hypothesis
import hypothesis.strategies as st
import pytest

from ops_workflows.analytics.months import LeftOver, LogMonths, Month, Partition
from ops_workflows.analytics.months_plan import (
    MOST_MOVED,
    Evidence,
    MonthsPlan,
    Verdict,
    decide,
    missing,
    past_limit,
)

NOW = datetime(2026, 3, 31, 23, 59, 59, tzinfo=UTC)
THIS = Month.around(NOW)
GOOD = Evidence(rows=10, differing=(), backup_id="b", held=10)


def log(
    *months: int,
    outside: dict[int, int] | None = None,
    others: tuple[str, ...] = (),
    left: tuple[LeftOver, ...] = (),
    held: tuple[str, ...] = (),
) -> LogMonths:
    """A log with partitions so many months after this one, and rows outside likewise."""
    partitions = tuple(
        Partition(THIS.later(number), THIS.later(number).partition, 100 + number, 8192, 7) for number in sorted(months)
    )
    rows = {THIS.later(number): count for number, count in (outside or {}).items()}
    return LogMonths(NOW, partitions, others, "query_log_default", held, rows, 0, left)


def decided(found: LogMonths, keep: int | None = 2, most: int = 12, **evidence: Evidence) -> MonthsPlan:
    old = past_limit(found, keep)
    each = {part.month: evidence.get(part.name, GOOD) for part in old}
    return decide(found, ahead=1, keep_months=keep, evidence=each, most=most)


def verdicts(plan: MonthsPlan) -> list[str]:
    return [each.verdict.value for each in plan.decisions]


@pytest.mark.parametrize(
    ("moment", "months", "expected"),
    [
        ("2026-03-31T23:59:59+00:00", 1, "2026-04"),
        ("2026-01-01T00:30:00+05:30", 0, "2025-12"),
        ("2026-01-31T00:00:00+00:00", -1, "2025-12"),
        ("2026-12-15T00:00:00+00:00", 13, "2028-01"),
        ("2024-02-29T12:00:00+00:00", 12, "2025-02"),
    ],
)
def test_months_are_those_of_utc(moment: str, months: int, expected: str) -> None:
    assert str(Month.around(datetime.fromisoformat(moment)).later(months)) == expected


@hypothesis.given(st.integers(31_536_000, 220_000_000_000), st.timezones())
def test_a_moment_is_in_its_month(seconds: int, zone: tzinfo) -> None:
    moment = datetime.fromtimestamp(seconds, zone)
    month = Month.around(moment)
    assert month.start <= moment < month.end
    assert month.end - month.start in {timedelta(days=days) for days in (28, 29, 30, 31)}
    assert month.later(1).later(-1) == month
    assert Month.around(month.end) == month.later(1)


def test_what_is_as_old_as_the_limit_stays_and_what_is_older_goes() -> None:
    assert verdicts(decided(log(-4, -3, -2, -1, 0, 1))) == ["drop", "drop", "keep", "keep", "keep", "keep"]
    assert verdicts(decided(log(-4, 0), keep=None)) == ["keep", "keep"]


@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        (Evidence(10, ["2025-12-01 04:00 UTC: new"], "b", 10), "not in the statistics as the log has them"),
        (Evidence(10, (), "", None), "no backup counts as proved"),
        (Evidence(10, (), "b", None), "nobody can say whether the newest proved backup, b, has its rows"),
        (
            Evidence(11, (), "b", 10),
            "10 of its 11 rows are as they are now in the newest proved backup, b, for certain",
        ),
        (Evidence(9, (), "b", 9, ["it belongs to app, and not to ops_owner"]), "it belongs to app"),
    ],
)
def test_one_that_lacks_something_waits_and_says_for_what(evidence: Evidence, said: str) -> None:
    plan = decided(log(-4, -3), **{THIS.later(-4).partition: evidence})
    assert verdicts(plan) == ["wait", "drop"]
    assert said in "; ".join(plan.waiting[0].reasons)


def test_all_that_it_lacks_is_said() -> None:
    (waiting,) = decided(log(-4), **{THIS.later(-4).partition: Evidence(3, ["x", "y"], "", None)}).waiting
    assert len(waiting.reasons) == 2
    assert waiting.reasons[0].startswith("2 of its hours and days")


def test_the_oldest_go_first_and_not_too_many() -> None:
    plan = decided(log(-6, -5, -4, -3), most=2, **{THIS.later(-6).partition: Evidence(1, (), "", None)})
    assert verdicts(plan) == ["wait", "drop", "drop", "wait"]
    assert plan.decisions[-1].reasons == ["no more than 2 months at once"]


def test_an_empty_month_goes_like_any_other() -> None:
    assert verdicts(decided(log(-5), **{THIS.later(-5).partition: Evidence(0, (), "b", 0)})) == ["drop"]


def test_this_month_and_those_ahead_are_made_and_those_whose_rows_have_none() -> None:
    found = log(-1, 1, outside={-7: 3, 0: 2, 2: MOST_MOVED, 3: MOST_MOVED + 1, 5: 1})
    assert missing(found, 3) == [THIS.later(number) for number in (-7, 0, 2)]
    notes = " ".join(decide(found, ahead=3, keep_months=None, evidence={}, most=1).notes)
    assert f"10,001 rows of {THIS.later(3)} lie in query_log_default, too many to move" in notes
    assert "1 rows in query_log_default are of times that have not come" in notes


def test_rows_that_would_have_to_be_deleted_for_it_stay_where_they_are() -> None:
    found = log(0, 1, outside={-7: 3}, held=("a foreign key of feedback refers to the log",))
    plan = decide(found, ahead=1, keep_months=None, evidence={}, most=1)
    assert plan.to_make == []
    assert "3 rows in query_log_default stay there" in plan.notes[0]
    assert "a foreign key of feedback refers to the log" in plan.notes[0]


def test_what_is_no_month_or_was_interrupted_is_told() -> None:
    left = (LeftOver(THIS.later(-9), "query_log_2025_06", 5, exists=True, attached=False),)
    notes = " ".join(decided(log(0, others=("query_log_wide",), left=left)).notes)
    assert "query_log_wide is not just one month, and is left alone." in notes
    assert "The dropping of 2025-06 was interrupted" in notes


@hypothesis.given(
    st.sets(st.integers(-30, 4), max_size=12),
    st.none() | st.integers(1, 24),
    st.dictionaries(
        st.integers(-30, 4),
        st.builds(
            Evidence,
            st.integers(0, 2),
            st.lists(st.just("x"), max_size=1),
            st.sampled_from(["", "b"]),
            st.none() | st.integers(0, 2),
        ),
    ),
    st.integers(1, 3),
)
def test_nothing_goes_that_is_young_unproved_or_not_in_the_statistics(
    months: set[int], keep: int | None, evidence: dict[int, Evidence], most: int
) -> None:
    named = {THIS.later(number).partition: each for number, each in evidence.items()}
    plan = decided(log(*months), keep, most, **named)
    assert len(plan.decisions) == len(months)
    assert len(plan.to_drop) <= most
    for each in plan.to_drop:
        found = named.get(each.partition.name, GOOD)
        assert keep is not None
        assert each.partition.month.later(keep) < THIS
        assert not found.differing
        assert found.backup_id == each.backup_id != ""
        assert found.held == found.rows == each.rows
    assert all(each.verdict is Verdict.KEEP or each.reasons for each in plan.decisions)
