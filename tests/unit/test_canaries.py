"""Canaries: what a name tells, which of them a way forward passes, and between which of them a moment may lie."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_workflows.errors import RefusedError
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.proof.drill_choice import Choice, Holding, Wanted, choose_drill, instead_of_random
from ops_workflows.proof.witness import random_moment, witnesses
from ops_workflows.repository.canaries import Canary, along, intervals
from ops_workflows.repository.reach import Histories, furthest
from ops_workflows.repository.wal import Branch
from ops_workflows.restore.moment import AtLsn, AtTime, Latest
from tests.support.records import MOMENT
from tests.unit.test_choose import at, listing, taken

MOMENTS = st.datetimes(timezones=st.just(UTC)).filter(lambda moment: moment.year > 1999)


def canary(segments: float, timeline: int = 1) -> Canary:
    """Committed at a place of the log; time goes by at one segment a minute, and a commit takes a second."""
    when = MOMENT + timedelta(minutes=segments)
    return Canary(when - timedelta(seconds=1), when, timeline, at(segments), f"{int(segments * 1000):016x}")


@given(MOMENTS, MOMENTS, st.integers(1, 2**32 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_a_name_tells_everything(before: datetime, after: datetime, timeline: int, lsn: int, token: int) -> None:
    one = Canary(before, after, timeline, Lsn(lsn), f"{token:016x}")
    assert Canary.parse(one.name) == one


@pytest.mark.parametrize("name", ["", "x.json", canary(1).name[:-1], "0" + canary(1).name])
def test_other_names_are_none(name: str) -> None:
    assert Canary.parse(name) is None


def test_a_way_passes_what_is_on_its_timelines_and_not_behind_a_fork() -> None:
    log = listing({1: {2, 3, 4, 5}, 2: {4, 5, 6}}, histories=[2])
    histories: Histories = {2: [Branch(1, at(4.5))]}
    early, before_fork, lost, new, beyond = canary(1.9), canary(4.2), canary(4.8), canary(5.5, 2), canary(8, 2)
    reach = furthest(taken(2), log, histories)
    assert reach.timeline == 2
    assert along([early, before_fork, lost, new, beyond], reach) == [early, before_fork, new]


def test_no_interval_where_the_clock_was_set_back() -> None:
    first, second = canary(3), canary(2)
    assert intervals([first, second], MOMENT) == []


def test_no_interval_where_one_that_lies_earlier_in_the_log_is_of_a_later_time() -> None:
    of_another_clock = replace(canary(9), lsn=at(3.5))
    known = [canary(3), canary(4), of_another_clock]
    assert [(each.first, each.second) for each in intervals(known, MOMENT)] == [(known[0], known[1])]


def test_no_interval_from_before_the_backup_ended() -> None:
    known = [canary(1), canary(3), canary(4)]
    (only,) = intervals(known, taken(2).finished_at)
    assert (only.first, only.second) == (known[1], known[2])


@given(st.lists(st.floats(2.5, 9), min_size=2, max_size=6, unique=True), st.integers(0, 1000))
def test_a_random_moment_has_one_canary_on_each_side(places: list[float], seed: int) -> None:
    known = [canary(place) for place in sorted(places)]
    between = intervals(known, MOMENT)
    if not between:
        return
    moment = random_moment(between, Random(seed))
    asked = witnesses(known, moment, taken(2))
    assert asked.speak
    assert all(each.after < moment for each in asked.before)
    assert all(each.before > moment for each in asked.after)
    assert len(asked.before) + len(asked.after) == len(known)


def test_of_what_was_committed_before_the_backup_only_the_last_is_asked_for() -> None:
    known = [canary(1), canary(1.5), canary(5)]
    asked = witnesses(known, MOMENT + timedelta(minutes=4), taken(2))
    assert asked.before == (known[1],)
    assert asked.after == (known[2],)


def test_one_that_is_in_the_backup_says_nothing_of_a_moment_before_its_time() -> None:
    ahead = replace(canary(6), lsn=at(1.9))
    known = [canary(1.5), canary(3), canary(5), ahead]
    assert witnesses(known, MOMENT + timedelta(minutes=4), taken(2)).after == (known[2],)


def holding(*places: float, drills: int = 0) -> Holding:
    return Holding(
        [taken(2), taken(5), taken(8)],
        listing({1: set(range(2, 12))}),
        {},
        [canary(place) for place in places],
        drills,
    )


def chosen(wanted: Wanted, held: Holding, seed: int = 1) -> Choice:
    choice = choose_drill(wanted, held, Random(seed))
    assert choice is not None
    return choice


@pytest.mark.parametrize(("drills", "backup"), [(0, 8), (1, 2), (3, 8), (4, 2)])
def test_backups_take_turns(drills: int, backup: int) -> None:
    held = holding(2.5, 3.5, 5.5, 6.5, 9, 10, drills=drills)
    choice = chosen(Wanted(), held)
    assert choice.route.backup == taken(backup)
    assert isinstance(choice.route.moment, AtTime)


@pytest.mark.parametrize("seed", range(20))
def test_a_random_moment_lies_before_the_next_backup(seed: int) -> None:
    choice = chosen(Wanted(backup="oldest"), holding(2.5, 3.5, 5.5, 6.5, 9, 10), seed)
    assert isinstance(choice.route.moment, AtTime)
    assert MOMENT + timedelta(minutes=2.5) < choice.route.moment.time < MOMENT + timedelta(minutes=3.5)


def test_a_turn_without_canaries_is_somebody_elses() -> None:
    choice = chosen(Wanted(), holding(2.5, 3.5))
    assert choice.route.backup == taken(2)
    assert "having no canaries" in choice.why


@pytest.mark.parametrize("places", [(), (9,), (1, 1.5)])
def test_without_canaries_there_is_no_random_moment(places: tuple[float, ...]) -> None:
    assert choose_drill(Wanted(), holding(*places), Random(1)) is None
    instead = instead_of_random(holding(*places))
    assert instead.route.moment == Latest()
    assert instead.lacking is not None


def test_what_is_asked_for_is_taken() -> None:
    held = holding()
    assert chosen(Wanted("latest", "oldest"), held).route.backup == taken(2)
    assert chosen(Wanted("latest"), held).route.backup == taken(8)
    assert chosen(Wanted(str(at(7))), held).route == chosen(Wanted(str(at(7)), taken(5).id), held).route
    assert chosen(Wanted(str(at(7))), held).route.moment == AtLsn(at(7))


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (Wanted(backup="20200101T000000Z-0000"), "There is no backup"),
        (Wanted("soon"), "is no moment"),
        (Wanted(str(at(99))), "cannot be reached"),
    ],
)
def test_what_cannot_be_is_refused(wanted: Wanted, says: str) -> None:
    with pytest.raises(RefusedError, match=says):
        choose_drill(wanted, holding(9, 10), Random(1))


def test_without_a_backup_it_is_refused() -> None:
    with pytest.raises(RefusedError, match="take one"):
        choose_drill(Wanted(), Holding([], listing({}), {}, [], 0), Random(1))
