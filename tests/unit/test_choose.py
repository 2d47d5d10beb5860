"""Which backup and which WAL: never a backup after the target, never a way with something missing."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ops_workflows.errors import RefusedError
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.repository.backup import Backup
from ops_workflows.repository.reach import Histories, Reach, furthest, reach_of, reaches, whole_until, window
from ops_workflows.repository.wal import Branch, Range, WalListing, segment_key, tail_key
from ops_workflows.restore.choose import choose
from ops_workflows.restore.moment import AtLsn, AtName, AtTime, Latest, Moment
from ops_workflows.storage.objects import StoredObject
from tests.support.records import MOMENT, backup

SEGMENT = 16 * 1024 * 1024
LAST = 30


def at(segments: float) -> Lsn:
    return Lsn(int(segments * SEGMENT))


def minute(number: float) -> datetime:
    return MOMENT + timedelta(minutes=number)


def stored(key: str, segments: float) -> StoredObject:
    return StoredObject(key, 1, '"e"', modified=minute(segments))


def listing(
    present: dict[int, set[int]],
    tails: Sequence[tuple[int, float]] = (),
    histories: Sequence[int] = (),
    unknown: Collection[float] = (),
) -> WalListing:
    """Segments by timeline; tails are from their segment's beginning to a place in it. Time goes by at 1 per minute.

    Each object was stored at once, and says that there was nothing beyond it; those that end in `unknown` say nothing.
    """
    found = [
        stored(segment_key(timeline, number * SEGMENT, SEGMENT), number + 1)
        for timeline, numbers in present.items()
        for number in numbers
    ]
    found += [stored(tail_key(timeline, at(int(end)), at(end), SEGMENT), end) for timeline, end in tails]
    found += [stored(f"{timeline:08X}.history", 0) for timeline in histories]
    made = WalListing.of(found, "", SEGMENT)
    silent = set(map(at, unknown))
    return replace(
        made,
        pieces=tuple(
            replace(piece, all_until=None if piece.end in silent else minute(piece.end / SEGMENT))
            for piece in made.pieces
        ),
    )


def taken(number: int, timeline: int = 1) -> Backup:
    """A backup that begins and ends in segment `number`."""
    return backup(
        id=f"20260131T02{number:02}00Z-0000",
        timeline=timeline,
        start_lsn=at(number + 0.1),
        stop_lsn=at(number + 0.2),
        started_at=MOMENT + timedelta(minutes=number + 0.1),
        finished_at=MOMENT + timedelta(minutes=number + 0.2),
    )


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Backup], WalListing, Histories, float | None]:
    """Backups, WAL with holes, and perhaps a promotion."""
    branch = draw(st.none() | st.floats(5, 25))
    numbers = draw(st.sets(st.integers(1, LAST - 2), min_size=1, max_size=5))
    whole = set(range(LAST)) - draw(st.sets(st.integers(0, LAST), max_size=3))
    silent = draw(st.sets(st.sampled_from([*range(1, LAST + 1), LAST + 0.5]), max_size=LAST))
    backups = [taken(number, 2 if branch and number > branch else 1) for number in sorted(numbers)]
    if branch is None:
        return backups, listing({1: whole}, [(1, LAST + 0.5)], unknown=silent), {}, None
    first = {number for number in whole if number < int(branch)}
    second = {number for number in whole if number >= int(branch)}
    found = listing({1: first, 2: second}, [(1, branch), (2, LAST + 0.5)], [2], silent)
    return backups, found, {2: [Branch(1, at(branch))]}, branch


def on_the_way(timeline: int, place: int, branch: float | None) -> set[int]:
    """The timelines that hold a place, for whoever goes to `timeline`; around where it was left, both do."""
    if branch is None or timeline == 1:
        return {timeline}
    return {number for number, there in ((1, place < at(branch)), (2, place >= at(int(branch)))) if there}


@given(worlds(), st.floats(0, LAST + 1))
def test_never_a_backup_after_the_place_nor_a_way_with_a_gap(
    world: tuple[list[Backup], WalListing, Histories, float | None], segments: float
) -> None:
    backups, found, histories, branch = world
    target = at(segments)
    try:
        route = choose(AtLsn(target), reaches(backups, found, histories), found)
    except RefusedError:
        return
    chosen = route.backup
    assert chosen.stop_lsn <= target
    # Every byte from the backup's end to the target is there, each on the timeline that the way takes.
    reach = route.reach
    place = -(-chosen.stop_lsn // SEGMENT) * SEGMENT
    while place < target:
        timelines = on_the_way(reach.timeline, place, branch)
        holding = [piece for piece in found.pieces if piece.start <= place < piece.end]
        assert any(piece.timeline in timelines for piece in holding), (reach, Lsn(place))
        place += SEGMENT // 4


@given(worlds(), st.floats(0, LAST + 1))
def test_never_a_backup_after_the_time(
    world: tuple[list[Backup], WalListing, Histories, float | None], minutes: float
) -> None:
    backups, found, histories, _ = world
    time = MOMENT + timedelta(minutes=minutes)
    ways = reaches(backups, found, histories)
    try:
        route = choose(AtTime(time), ways, found)
    except RefusedError:
        return
    assert route.backup.finished_at <= time
    assert promises(route.reach, time)
    others = [way.backup for way in ways if way.timeline == route.reach.timeline]
    nearer = [other for other in others if route.backup.finished_at < other.finished_at <= time]
    reached = {way.backup.id for way in ways if promises(way, time) and way.timeline == route.reach.timeline}
    assert not [other for other in nearer if other.id in reached]  # the nearest that leads there


def promises(way: Reach, time: datetime) -> bool:
    """Whether a way leads to a time for certain, or may: time goes by at one segment per minute."""
    end = minute(way.end / SEGMENT)
    if way.holds_all(time):
        assert time <= end  # nothing that is not there is ever promised
        return True
    return bool(way.legs) and time <= end + timedelta(seconds=5)


@given(worlds())
def test_latest_is_the_furthest_on_the_newest_timeline(
    world: tuple[list[Backup], WalListing, Histories, float | None],
) -> None:
    backups, found, histories, _ = world
    ways = reaches(backups, found, histories)
    assume(ways)
    route = choose(Latest(), ways, found)
    assert (route.reach.timeline, route.reach.end) == max((way.timeline, way.end) for way in ways)
    if route.reach.timeline > 1 and route.backup.timeline == 1:
        assert [leg.timeline for leg in route.reach.legs][-1] == 2  # it does get there


@given(worlds())
def test_legs_follow_one_another(world: tuple[list[Backup], WalListing, Histories, float | None]) -> None:
    backups, found, histories, _ = world
    for reach in reaches(backups, found, histories):
        assert all(leg.start < leg.end for leg in reach.legs)
        for before, after in zip(reach.legs, reach.legs[1:], strict=False):
            assert before.timeline < after.timeline
            assert after.start <= before.end
        if reach.legs:
            assert reach.end == reach.legs[-1].end


def test_no_backup_at_all() -> None:
    with pytest.raises(RefusedError, match="There is no backup to recover from"):
        choose(Latest(), [], listing({}))


def test_a_timeline_that_the_log_does_not_lead_to_is_not_promised() -> None:
    """The history is there, and between the backup and where the new timeline begins there is nothing."""
    found = listing({2: {8, 9}}, histories=[2])
    assert reach_of(taken(3), 2, found, {2: [Branch(1, at(8))]}) is None


def test_a_new_timeline_begins_where_the_backup_ended() -> None:
    """Nothing of the old one is needed then, and nothing of it may be in the bucket."""
    found = listing({2: {4, 5}}, histories=[2])
    reach = reach_of(taken(3), 2, found, {2: [Branch(1, at(4))]})
    assert reach is not None
    assert [(leg.timeline, leg.start, leg.end) for leg in reach.legs] == [(2, at(4), at(6))]


def test_a_backup_of_a_timeline_that_was_left_before_leads_nowhere_else() -> None:
    found = listing({1: {3, 4, 5, 6}, 2: {4, 5}}, histories=[2])
    assert reach_of(taken(5), 2, found, {2: [Branch(1, at(4.5))]}) is None


def test_a_restore_point_is_looked_for_from_the_first_backup() -> None:
    found = listing({1: set(range(20))})
    ways = reaches([taken(3), taken(9)], found, {})
    assert choose(AtName("before"), ways, found).backup.id == taken(3).id


def test_a_backup_from_a_standby_needs_the_rest_of_its_last_segment() -> None:
    found = listing({1: {3, 4}})
    of_standby = taken(3).model_copy(update={"from_standby": True})
    reach = reach_of(of_standby, 1, found, {})
    assert reach is not None
    assert reach.legs[0].start == at(3)
    alone = reach_of(of_standby, 1, listing({}), {})
    assert alone is not None
    assert alone.end == of_standby.stop_lsn


def test_the_last_object_that_knows_says_until_when_the_log_is_whole() -> None:
    """Those after it were sent while the server had more, or were copied by a tool that leaves behind what they say."""
    reach = reach_of(taken(3), 1, listing({1: set(range(10))}, [(1, 10.5)], unknown=[9, 10, 10.5]), {})
    assert reach is not None
    assert reach.whole_until == minute(8)
    assert reach.holds_all(minute(8))
    assert not reach.holds_all(minute(8.01))
    assert [reach.may_hold(minute(number)) for number in (8.01, 10.5, 10.6)] == [True, True, False]


@pytest.mark.parametrize(("wanted", "fits"), [(3.1, False), (3.3, True), (10.5, True), (10.6, False)])
def test_where_nothing_is_known_what_may_be_there_is_tried(wanted: float, fits: bool) -> None:
    found = listing({1: set(range(10))}, [(1, 10.5)], unknown=[*range(11), 10.5])
    ways = reaches([taken(3)], found, {})
    if fits:
        assert choose(AtTime(minute(wanted)), ways, found).backup == taken(3)
        return
    with pytest.raises(
        RefusedError, match=r"The window is 2026-01-31 02:03:12 to 2026-01-31 02:03:12 UTC, .* Later ones"
    ):
        choose(AtTime(minute(wanted)), ways, found)


def test_what_was_stored_late_promises_no_more() -> None:
    found = listing({1: {4, 5}})
    late = replace(found, pieces=tuple(replace(piece, stored_at=minute(600)) for piece in found.pieces))
    reach = reach_of(taken(3), 1, late, {})
    assert reach is not None
    assert reach.whole_until == minute(6)
    made = window([reach], late)
    assert made is not None
    assert (made.until, made.attempt) == (minute(6), minute(600))


def test_a_backup_alone_promises_no_time_at_all() -> None:
    """Between its stop LSN and the moment when it was finished, others may have committed."""
    ways = reaches([taken(3)], listing({}), {})
    with pytest.raises(RefusedError, match="cannot be reached"):
        choose(AtTime(taken(3).finished_at), ways, listing({}))


def test_an_old_timeline_vouches_for_what_came_before_it_was_left() -> None:
    """What it went on to write, or how long it stood still where it was left, says nothing of the new one."""
    histories = {2: [Branch(1, at(7))]}
    found = listing({1: set(range(9)), 2: {7, 8}}, histories=[2], unknown=[9])
    reach = reach_of(taken(3), 2, found, histories)
    assert reach is not None
    assert reach.whole_until == minute(8)  # of the new one's first segment
    silent = listing({1: set(range(9)), 2: {7}}, histories=[2], unknown=[8])
    reach = reach_of(taken(3), 2, silent, histories)
    assert reach is not None
    assert reach.whole_until == minute(6)


def test_nothing_of_a_way_vouches_for_another_place() -> None:
    assert whole_until([Range(1, at(4), at(6))], listing({1: {1, 2, 8}})) is None


def forked(*, old: float, new: float, began: float) -> tuple[WalListing, Histories]:
    """Timeline 2 left 1 in the middle of segment 5, at minute `began`; each goes on to a place, at one per minute."""
    histories = {2: [Branch(1, at(5.5))]}
    found = listing({1: set(range(int(old))), 2: set(range(5, int(new)))}, [(1, old), (2, new)], [2])
    later = timedelta(minutes=began - 5.5)
    pieces = tuple(
        replace(piece, all_until=piece.all_until + later, stored_at=piece.stored_at + later)
        if piece.timeline == 2 and piece.all_until and piece.stored_at
        else piece
        for piece in found.pieces
    )
    return replace(found, pieces=pieces, branches=histories, begun={2: minute(began)}), histories


def test_a_moment_that_a_recovery_has_taken_back_lies_on_the_timeline_of_then() -> None:
    """At minute 20 the server went back to where it was at 5.5; what it was at minute 7 is on the old timeline."""
    found, histories = forked(old=9.5, new=7.5, began=20)
    ways = reaches([taken(3)], found, histories)

    def timeline(moment: Moment) -> int:
        return choose(moment, ways, found).reach.timeline

    assert timeline(AtTime(minute(7))) == 1
    assert timeline(AtTime(minute(21))) == 2
    assert timeline(Latest()) == 2
    made = window(ways, found)
    assert made is not None
    assert made.until == minute(22)


def test_what_a_promotion_has_lost_is_found_by_its_time_and_not_followed() -> None:
    found, histories = forked(old=6.5, new=9.5, began=6.7)
    ways = reaches([taken(3)], found, histories)
    assert choose(AtTime(minute(6.4)), ways, found).reach.timeline == 1
    assert choose(AtTime(minute(8)), ways, found).reach.timeline == 2
    assert choose(Latest(), ways, found).reach.timeline == 2


def test_a_branch_that_the_server_has_given_up_again_is_not_followed() -> None:
    """For some minutes it was on timeline 2, and was brought back as it had been."""
    found, histories = forked(old=12.5, new=6.5, began=5.6)
    ways = reaches([taken(3)], found, histories)
    assert choose(Latest(), ways, found).reach.timeline == 1
    assert choose(AtTime(minute(12)), ways, found).reach.timeline == 1
    assert choose(AtTime(minute(6)), ways, found).reach.timeline == 2
    assert furthest(taken(3), found, histories).timeline == 1
    made = window(ways, found)
    assert made is not None
    assert made.end == at(12.5)


def test_where_nobody_knows_the_times_the_newest_object_tells_which_branch_is_alive() -> None:
    found, histories = forked(old=12.5, new=6.5, began=5.6)
    silent = replace(found, pieces=tuple(replace(piece, all_until=None) for piece in found.pieces))
    ways = reaches([taken(3)], silent, histories)
    assert choose(Latest(), ways, silent).reach.timeline == 1


def test_a_long_log_is_covered_at_once() -> None:
    """A year of it has half a million segments, and every backup asks."""
    found = listing({1: set(range(20_000))})
    pieces = list(found.cover(1, at(3), at(20_000)))
    assert len(pieces) == 19_997
    assert all(one.end == other.start for one, other in pairwise(pieces))
