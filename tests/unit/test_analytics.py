"""Percentiles from bins and distinct users from sketches, as exact as they say; and what is due."""

import math
from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random
from statistics import quantiles

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_workflows.analytics import distinct, histogram
from ops_workflows.analytics.period import Grain, Period
from ops_workflows.analytics.standing import Standing, State
from ops_workflows.errors import ConfigurationError

HOUR = Period(Grain.HOUR, datetime(2026, 3, 29, 1, tzinfo=UTC))


@given(st.integers(1, 2**31 - 1))
def test_a_bins_value_is_within_one_per_cent_of_all_that_it_holds(milliseconds: int) -> None:
    value = histogram.value_of(histogram.bin_of(milliseconds))
    assert abs(value - milliseconds) <= 0.0100001 * milliseconds
    assert value == milliseconds or milliseconds > 49


@given(st.lists(st.integers(0, 100_000), min_size=2, max_size=200), st.sampled_from([50, 95, 99]))
def test_percentiles_are_within_one_per_cent(times: list[int], share: int) -> None:
    exact = quantiles(times, n=100, method="inclusive")[share - 1]
    found = histogram.percentile(Counter(map(histogram.bin_of, times)), share / 100)
    assert found == pytest.approx(exact, rel=0.0100001)


def test_there_is_no_percentile_of_nothing_and_zero_and_below_have_a_bin() -> None:
    assert histogram.percentile(Counter(), 0.5) is None
    assert histogram.bin_of(0) == histogram.bin_of(-5) == histogram.ZERO
    assert histogram.value_of(histogram.ZERO) == 0


@given(st.lists(st.lists(st.integers(0, 10_000), max_size=50), max_size=5))
def test_merged_bins_are_those_of_all_values_together(parts: list[list[int]]) -> None:
    counted = [Counter(map(histogram.bin_of, part)) for part in parts]
    together = Counter(histogram.bin_of(each) for part in parts for each in part)
    assert histogram.merge((each.keys(), each.values()) for each in counted) == together


def sketch(users: range, seed: str = "") -> list[int]:
    """As hour.sql makes it, of random hashes."""
    entries = []
    for user in users:
        hashed = Random(f"{seed}/{user}").getrandbits(64)
        entries.append([(hashed & 4095) * 64 + 53 - (hashed >> 12).bit_length()])
    return distinct.merge(entries)


@pytest.mark.parametrize("users", [0, 1, 100, 3_000, 12_000, 60_000])
def test_distinct_users_are_estimated_within_four_standard_errors(users: int) -> None:
    assert distinct.estimate(sketch(range(users))) == pytest.approx(users, rel=4 * distinct.STANDARD_ERROR)


def test_over_many_sketches_the_error_is_the_standard_error_and_there_is_no_bias() -> None:
    off = [distinct.estimate(sketch(range(9_000), str(seed))) / 9_000 - 1 for seed in range(40)]
    assert math.sqrt(sum(each**2 for each in off) / len(off)) < 1.4 * distinct.STANDARD_ERROR
    assert abs(sum(off) / len(off)) < 3 * distinct.STANDARD_ERROR / math.sqrt(len(off))


def test_a_merged_sketch_counts_nobody_twice() -> None:
    assert distinct.merge([sketch(range(600)), sketch(range(300, 900))]) == sketch(range(900))


def test_a_day_has_24_hours_also_where_the_clocks_change() -> None:
    day = Period.around(Grain.DAY, datetime.fromisoformat("2026-03-29T03:30:00+02:00"))
    assert (day.start, day.end - day.start) == (datetime(2026, 3, 29, tzinfo=UTC), timedelta(hours=24))
    assert Period.around(Grain.DAY, datetime(2028, 2, 29, 23, 59, tzinfo=UTC)).end == datetime(2028, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize("start", [datetime(2026, 1, 1, 1, 30, tzinfo=UTC), datetime(2026, 1, 1)])  # noqa: DTZ001
def test_a_period_begins_at_a_whole_hour_of_utc(start: datetime) -> None:
    with pytest.raises(ConfigurationError, match="No hour of UTC begins at 2026-01-01"):
        Period(Grain.HOUR, start)


@pytest.mark.parametrize(
    ("source", "rolled_up", "kept", "outdated", "state"),
    [
        (5, None, 0, False, State.NEW),
        (0, None, 5, False, State.FEWER),
        (6, 5, 5, False, State.LATE),
        (5, 5, 5, True, State.LATE),
        (5, 5, 4, False, State.ALTERED),
        (4, 5, 5, True, State.FEWER),
        (0, 5, 5, False, State.FEWER),
        (5, 5, 5, False, State.AGREES),
    ],
)
def test_history_whose_rows_are_gone_is_never_due(
    source: int, rolled_up: int | None, kept: int, outdated: bool, state: State
) -> None:
    found = Standing(HOUR, source, rolled_up, kept, outdated).state
    assert found is state
    assert found.is_due is (state not in {State.FEWER, State.AGREES})
