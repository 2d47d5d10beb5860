"""How long recovering would take, and when that breaks the promise: by examples, and whatever the drills were."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from random import Random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ops_workflows.proof.forecast import Forecast, Growth, Present, breaking, forecast, growth, unmeasured
from ops_workflows.repository.backup import Backup
from ops_workflows.repository.drills import DrillRecord
from tests.support.records import MOMENT, backup

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
MB, GB = 10**6, 10**9
CONSTANT = {"plan": 2.0, "boot": 3.0, "first answer": 0.05}


def here(database_bytes: int, stored_bytes: int = 0, wal_bytes: int = GB, backups: int = 1) -> Present:
    stored = stored_bytes or max(1, database_bytes // 4)
    return Present(database_bytes=database_bytes, stored_bytes=stored, wal_bytes=wal_bytes, backups=backups)


def truth(of: Present) -> dict[str, float]:
    """What each phase takes on a machine that is never disturbed."""
    combine = {"combine": 0.5 + 4e-9 * of.database_bytes} if of.backups > 1 else {}
    growing = {"fetch and extract": 3 + 8e-9 * of.stored_bytes, "verify": 1 + 2e-9 * of.database_bytes}
    return CONSTANT | growing | combine | {"replay": 0.2 + 2e-8 * of.wal_bytes}


def a_drill(of: Present, seconds: dict[str, float] | None = None, number: int = 0, between: float = 0.5) -> DrillRecord:
    """One that came to an answer, half a second of it between its phases; and checked for a long time after it."""
    measured = truth(of) if seconds is None else seconds
    return DrillRecord(
        id=f"20260331T{number:06}Z-0000",
        system="7711281658445912347",
        at=MOMENT + timedelta(days=number),
        backup_id="20260131T020000Z-7c1e",
        backups=of.backups,
        backup_finished_at=MOMENT,
        timeline=1,
        moment="latest",
        chosen="a test",
        database_bytes=of.database_bytes,
        stored_bytes=of.stored_bytes,
        wal_bytes=of.wal_bytes,
        rto_seconds=sum(measured.values()) + between,
        rto_objective_seconds=900,
        rpo_seconds=1,
        rpo_objective_seconds=60,
        seconds=measured | {"check: sound": 1000.0},
        checks=(),
        versions={},
    )


def failing(drill: DrillRecord) -> DrillRecord:
    return drill.model_copy(update={"rto_seconds": None})


def noisy(sizes: Sequence[Present], noise: float) -> list[DrillRecord]:
    chance = Random(7)
    return [
        a_drill(of, {name: seconds * chance.uniform(1 - noise, 1 + noise) for name, seconds in truth(of).items()}, at)
        for at, of in enumerate(sizes)
    ]


def known(drills: Sequence[DrillRecord], present: Present) -> Forecast:
    found = forecast(drills, present)
    assert found is not None
    return found


def true_rto(of: Present) -> float:
    return sum(truth(of).values()) + 0.5


VARIED = [here(gigabytes * GB, wal_bytes=(1 + gigabytes * 7 % 5) * GB) for gigabytes in range(5, 51, 5)]


def test_a_known_machine_is_recognised() -> None:
    drills = noisy(VARIED, 0.05)
    for there in (VARIED[3], here(150 * GB, wal_bytes=8 * GB), here(2 * GB, wal_bytes=GB // 10)):
        found = known(drills, there)
        assert found.expected_seconds == pytest.approx(true_rto(there), rel=0.1)
        assert found.low_seconds <= true_rto(there) <= found.high_seconds
        assert sum(found.by_phase.values()) == pytest.approx(found.expected_seconds)
        assert not found.rough
    assert list(found.by_phase) == [*truth(VARIED[0]), "between the phases"]
    assert found.by_phase["boot"] == pytest.approx(3, rel=0.05)


def test_small_drills_of_different_sizes_tell_the_fixed_part_from_the_rest() -> None:
    # At these sizes nearly all of it is fixed: 400 times the database takes 4 times as long, and not 400.
    drills = noisy([here(megabytes * MB, wal_bytes=megabytes * MB) for megabytes in range(50, 1001, 50)], 0)
    there = here(20 * GB, wal_bytes=2 * GB)
    assert known(drills, there).expected_seconds == pytest.approx(true_rto(there), rel=0.01)


def test_small_drills_of_one_size_promise_nothing_for_a_large_database() -> None:
    drills = noisy([here(50 * MB, wal_bytes=MB)] * 5, 0.05)
    there = here(50 * GB, wal_bytes=GB)
    found = known(drills, there)
    assert found.expected_seconds > true_rto(there)
    assert found.low_seconds < true_rto(there) < found.high_seconds


def test_drills_that_do_not_say_what_a_byte_costs_do_not_say_that_it_is_free() -> None:
    drills = [a_drill(here(at * GB), truth(here(GB)) | {"verify": 20.0 - at}, at) for at in range(1, 8)]
    assert known(drills, here(70 * GB)).by_phase["verify"] > 100


@pytest.mark.parametrize("factor", [0.2, 5.0])
@pytest.mark.parametrize("odd", range(len(VARIED)))
def test_one_odd_drill_spoils_nothing(odd: int, factor: float) -> None:
    drills = noisy(VARIED, 0.02)
    disturbed = {name: seconds * factor for name, seconds in truth(VARIED[odd]).items()}
    drills[odd] = a_drill(VARIED[odd], disturbed, odd)
    for there in (here(30 * GB, wal_bytes=2 * GB), here(100 * GB, wal_bytes=2 * GB)):
        assert known(drills, there).expected_seconds == pytest.approx(true_rto(there), rel=0.15)


def test_one_drill_is_half_to_twice_and_says_that_it_is_rough() -> None:
    found = known([a_drill(here(10 * GB))], here(10 * GB))
    assert found.expected_seconds == pytest.approx(true_rto(here(10 * GB)))
    assert found.low_seconds <= found.expected_seconds / 2
    assert found.high_seconds >= found.expected_seconds * 2
    assert (found.drills, found.rough) == (1, True)


def test_of_a_small_and_a_large_drill_the_large_one_counts() -> None:
    found = known([a_drill(here(30 * MB), number=1), a_drill(here(100 * GB), number=2)], here(100 * GB))
    assert found.by_phase["verify"] == pytest.approx(201)


def test_no_answer_no_forecast() -> None:
    fetched = {"plan": 2.0, "fetch and extract": 40.0}
    assert forecast([], here(GB)) is None
    assert forecast([failing(a_drill(here(GB), fetched)), failing(a_drill(here(GB)))], here(GB)) is None
    assert breaking([], here(GB), None, 900, NOW) is None
    assert unmeasured([], here(GB)) == ("fetch and extract", "verify", "replay")


def test_a_drill_that_failed_does_not_count() -> None:
    drills = noisy(VARIED, 0.1)
    slow = failing(a_drill(VARIED[0], dict.fromkeys(truth(VARIED[0]), 900.0)))
    assert forecast([*drills, slow], VARIED[2]) == forecast(drills, VARIED[2])


def test_what_no_drill_went_through_is_not_guessed() -> None:
    full = noisy(VARIED, 0.1)
    assert unmeasured(full, here(GB, backups=3)) == ("combine",)
    assert forecast(full, here(GB, backups=3)) is None
    without_log = [a_drill(here(GB, wal_bytes=0), truth(here(GB)) | {"replay": 0.0})]
    assert unmeasured(without_log, here(GB)) == ("replay",)
    assert forecast(without_log, here(GB)) is None
    assert known(without_log, here(GB, wal_bytes=0)).by_phase["replay"] == 0


def test_combining_counts_where_there_is_something_to_combine() -> None:
    drills = noisy([here(of.database_bytes, backups=1 + at % 3) for at, of in enumerate(VARIED)], 0)
    assert "combine" not in known(drills, here(20 * GB)).by_phase
    found = known(drills, here(20 * GB, backups=2))
    assert found.by_phase["combine"] == pytest.approx(80.5)
    assert list(found.by_phase) == [*truth(here(GB, backups=2)), "between the phases"]


def grown(*, days: Sequence[float], per_day: float = GB) -> list[Backup]:
    return [
        backup(finished_at=MOMENT + timedelta(days=day), database_bytes=int(100 * GB + per_day * day)) for day in days
    ]


def test_growth() -> None:
    found = growth(grown(days=range(10)))
    assert found == Growth(pytest.approx(GB), 9, 10)  # type: ignore[arg-type]
    shrinking = growth(grown(days=range(10), per_day=-GB))
    assert shrinking is not None
    assert shrinking.bytes_per_day == pytest.approx(-GB)


@pytest.mark.parametrize("days", [[], [0], [0, 0.01, 0.02], [0, 1, 1.9]])
def test_minutes_are_not_made_into_years(days: list[float]) -> None:
    assert growth(grown(days=days)) is None


def test_backups_of_the_same_hour_say_nothing_of_growth() -> None:
    steady = grown(days=[0, 1, 2, 3])
    by_hand = [
        backup(finished_at=MOMENT + timedelta(days=3, minutes=at), database_bytes=103 * GB + at * GB) for at in range(4)
    ]
    found = growth([*steady, *by_hand])
    assert found is not None
    assert found.bytes_per_day == pytest.approx(GB, rel=0.5)


def test_the_day_of_breaking() -> None:
    drills, there = noisy([here(gigabytes * GB) for gigabytes in (10, 20, 30, 40, 50)], 0), here(100 * GB)
    # Each GB is 2 s of fetching, 2 s of verifying, and 10 MB of WAL, which take a hundredth of 20.2 s: all drills
    # replayed 1 GB, so that the fixed part of it is not known apart. The other fixed parts are 9.55 s.
    found = breaking(drills, there, Growth(GB, 30, 30), 1000, NOW)
    assert found is not None
    assert found.database_bytes == pytest.approx((1000 - 9.55) / 4.202e-9, rel=1e-6)
    then = here(found.database_bytes, wal_bytes=found.database_bytes // 100)
    assert known(drills, then).high_seconds == pytest.approx(1000)
    days = (found.database_bytes - there.database_bytes) / GB
    assert found.on == date(2026, 3, 31) + timedelta(days=int(days + 0.5))
    assert days == pytest.approx(135.7, abs=0.1)


@pytest.mark.parametrize("known_growth", [None, Growth(0, 30, 30), Growth(-GB, 30, 30), Growth(0.03 * GB, 30, 30)])
def test_no_day_without_growth_nor_beyond_ten_years(known_growth: Growth | None) -> None:
    found = breaking(noisy(VARIED, 0), here(100 * GB, wal_bytes=GB), known_growth, 1000, NOW)
    assert found is not None
    assert found.on is None


def test_what_is_broken_is_broken_today() -> None:
    found = breaking(noisy(VARIED, 0), here(100 * GB), None, 60, NOW)
    assert found is not None
    assert found.database_bytes < 100 * GB
    assert found.on == NOW.date()
    hopeless = breaking(noisy(VARIED, 0), here(100 * GB), None, 2, NOW)
    assert hopeless is not None
    assert (hopeless.database_bytes, hopeless.on) == (0, NOW.date())


def test_what_does_not_depend_on_the_size_never_breaks() -> None:
    free = {"plan": 2.0, "fetch and extract": 0.0, "verify": 0.0, "replay": 0.0, "boot": 3.0}
    assert breaking([a_drill(of, free) for of in VARIED], VARIED[0], Growth(GB, 30, 30), 900, NOW) is None


BYTES = st.integers(MB, 10_000 * GB)
SECONDS = st.floats(0, 10_000).map(lambda seconds: round(seconds, 3))
PRESENTS = st.builds(
    Present, database_bytes=BYTES, stored_bytes=BYTES, wal_bytes=st.just(0) | BYTES, backups=st.integers(1, 4)
)


@st.composite
def drilled(draw: st.DrawFn) -> list[DrillRecord]:
    """Any drills, some in vain, of which one at least has measured everything."""
    of = [*draw(st.lists(PRESENTS, max_size=8)), draw(st.builds(here, BYTES, backups=st.just(2)))]
    return [
        done if answered else failing(done)
        for number, (each, answered) in enumerate(
            zip(of, [*draw(st.lists(st.booleans(), min_size=len(of) - 1, max_size=len(of) - 1)), True], strict=True)
        )
        for seconds in [{name: draw(SECONDS) for name in truth(each)}]
        for done in [a_drill(each, seconds, number, draw(st.floats(0, 2)))]
    ]


@settings(max_examples=150, deadline=None)
@given(drilled(), PRESENTS, st.data())
def test_whatever_the_drills(drills: list[DrillRecord], present: Present, data: st.DataObject) -> None:
    found = known(drills, present)
    assert 0 <= found.low_seconds <= found.expected_seconds <= found.high_seconds
    assert found.drills == sum(drill.rto_seconds is not None for drill in drills)
    assert forecast(data.draw(st.permutations(drills)), present) == found
    # More of anything never takes less.
    more = Present(
        database_bytes=present.database_bytes + data.draw(st.just(0) | BYTES),
        stored_bytes=present.stored_bytes + data.draw(st.just(0) | BYTES),
        wal_bytes=present.wal_bytes + data.draw(st.just(0) | BYTES),
        backups=present.backups,
    )
    then = known(drills, more)
    assert then.low_seconds >= found.low_seconds
    assert then.expected_seconds >= found.expected_seconds
    assert then.high_seconds >= found.high_seconds
    assert all(then.by_phase[name] >= seconds for name, seconds in found.by_phase.items())


@settings(max_examples=100, deadline=None)
@given(PRESENTS, st.integers(1, 8), st.data())
def test_drills_that_are_all_equal_give_back_their_own(present: Present, count: int, data: st.DataObject) -> None:
    seconds = {name: data.draw(SECONDS) for name in truth(present)}
    drills = [a_drill(present, seconds, number) for number in range(count)]
    found = known(drills, present)
    assert found.expected_seconds == pytest.approx(drills[0].rto_seconds)
    assert {name: found.by_phase[name] for name in seconds} == pytest.approx(seconds)
    if not found.rough:
        assert (found.low_seconds, found.high_seconds) == pytest.approx((found.expected_seconds,) * 2)


@settings(max_examples=100, deadline=None)
@given(drilled(), PRESENTS, st.floats(1, 100_000))
def test_at_the_size_of_breaking_it_takes_what_was_promised(
    drills: list[DrillRecord], present: Present, objective: float
) -> None:
    found = breaking(drills, present, None, objective, NOW)
    assume(found is not None)
    assert found is not None

    def latest(database_bytes: int) -> float:
        then = Present(
            database_bytes=database_bytes,
            stored_bytes=present.stored_bytes * database_bytes // present.database_bytes,
            wal_bytes=present.wal_bytes * database_bytes // present.database_bytes,
            backups=present.backups,
        )
        return known(drills, then).high_seconds

    # To the byte, of which one may take seconds if a drill of nearly nothing took an hour.
    assert latest(found.database_bytes) >= objective
    assert found.database_bytes == 0 or latest(found.database_bytes - 1) < objective
    assert found.on == (NOW.date() if found.database_bytes <= present.database_bytes else None)
