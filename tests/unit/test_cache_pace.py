"""How fast to prune, and when to pause."""

from dataclasses import replace
from datetime import UTC, datetime, time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_workflows.cache.pace import (
    FIRST_BATCH,
    Burden,
    Limits,
    Window,
    next_batch,
    to_rest,
    vacuum_pays,
    vacuum_seconds,
    why_pause,
)

NOON = datetime(2026, 3, 29, 12, 0, tzinfo=UTC)
LIMITS = Limits(canary_seconds=0.05, lag_seconds=10, lag_bytes=64_000_000, slot_bytes=512_000_000)
IDLE = Burden(NOON, canary_seconds=0.001, replica="standby", slot="ops_wal")


@given(rate=st.floats(1_000, 1_000_000), target=st.floats(0.01, 0.5))
def test_the_batch_settles_where_it_takes_as_long_as_it_should(rate: float, target: float) -> None:
    size = FIRST_BATCH
    for _ in range(20):
        size = next_batch(size, size / rate, target)
    assert size == pytest.approx(min(max(rate * target, 100), 20_000), rel=0.02)


@given(rows=st.integers(1, 20_000), seconds=st.floats(0, 1e6))
def test_one_batch_alone_changes_little_and_never_leaves_the_bounds(rows: int, seconds: float) -> None:
    size = next_batch(rows, seconds, 0.05)
    assert 100 <= size <= 20_000
    assert size == 100 or rows / 2 - 1 <= size <= rows * 2


@given(seconds=st.floats(0.001, 10), duty=st.floats(0.01, 1))
def test_batches_fill_no_more_of_the_time_than_they_may(seconds: float, duty: float) -> None:
    assert seconds / (seconds + to_rest(seconds, duty)) == pytest.approx(duty)


@pytest.mark.parametrize(
    ("burden", "said"),
    [
        (replace(IDLE, canary_seconds=0.2), "the canary query took 200 ms of 50 ms"),
        (replace(IDLE, canary_seconds=None), "the canary query did not come back in time"),
        (replace(IDLE, lag_seconds=11), "the standby standby is 11.0 s behind, of 10.0 s"),
        (replace(IDLE, lag_bytes=65_000_000), "the standby standby is 65.0 MB behind, of 64.0 MB"),
        (replace(IDLE, slot_bytes=600_000_000), "the slot ops_wal keeps 600.0 MB of log, of 512.0 MB"),
        (replace(IDLE, unarchived_bytes=600_000_000), "600.0 MB of log wait for archiving, of 512.0 MB"),
        (replace(IDLE, maintained=True), "a vacuum, an ANALYZE or an index build works on the table"),
    ],
)
def test_each_burden_pauses_and_is_said_with_its_figures(burden: Burden, said: str) -> None:
    assert why_pause(burden, LIMITS) == said


def test_at_its_limits_the_server_is_not_overburdened() -> None:
    full = replace(IDLE, canary_seconds=0.05, lag_seconds=10, lag_bytes=64_000_000, slot_bytes=512_000_000)
    full = replace(full, unarchived_bytes=512_000_000)
    assert why_pause(full, LIMITS) is None


def test_a_vacuum_has_what_is_left_and_a_moment_in_any_case() -> None:
    assert [vacuum_seconds(left) for left in (900.4, 9, -3)] == [900, 10, 10]


def test_within_the_window_it_pauses() -> None:
    limits = replace(LIMITS, window=Window(time(11), time(13)))
    assert why_pause(IDLE, limits) == "it is 12:00, within the pause from 11:00 to 13:00 UTC"
    assert why_pause(replace(IDLE, at=NOON.replace(hour=13)), limits) is None


@pytest.mark.parametrize(
    ("text", "within", "without"),
    [("08:00-17:30", ["08:00", "17:29"], ["07:59", "17:30"]), ("22:00-02:00", ["22:00", "01:59"], ["02:00", "21:59"])],
)
def test_a_window_may_pass_midnight(text: str, within: list[str], without: list[str]) -> None:
    window = Window.parse(text)
    day = NOON.date()
    assert [window.holds(datetime.combine(day, time.fromisoformat(at), UTC)) for at in within] == [True, True]
    assert [window.holds(datetime.combine(day, time.fromisoformat(at), UTC)) for at in without] == [False, False]


@pytest.mark.parametrize("text", ["08:00", "08:00-08:00", "25:00-01:00", ""])
def test_what_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the setting says which
        Window.parse(text)


def test_a_vacuum_pays_when_much_is_dead() -> None:
    assert vacuum_pays(2_000, 8_000, fraction=0.1)
    assert not vacuum_pays(2_000, 80_000, fraction=0.1)
    assert not vacuum_pays(900, 0, fraction=0.1), "so few are read over in no time"
