"""`contiguous`, from names alone: what leads to now, and what exactly is missing if nothing does."""

from dataclasses import replace

import pytest

from ops_workflows.proof.contiguous import contiguous
from ops_workflows.proof.rungs import Climb
from ops_workflows.repository.canaries import Canary
from ops_workflows.repository.reach import Histories
from ops_workflows.repository.wal import Branch
from tests.unit.test_choose import at, listing, minute, taken


def climbed(
    present: dict[int, set[int]], tails: list[tuple[int, float]] | None = None, histories: Histories | None = None
) -> Climb:
    return contiguous(taken(2), listing(present, tails or (), list(histories or ())), histories or {})


def test_a_log_that_leads_to_now() -> None:
    done = climbed({1: {2, 3, 4}}, [(1, 5.5)])
    assert done.passed
    assert done.evidence["wal_objects"] == 3  # segment 2 is in the backup itself


def test_a_log_that_has_come_no_further_than_the_backup() -> None:
    assert climbed({1: {1, 2}}).passed


def test_across_a_promotion() -> None:
    done = climbed({1: {2, 3, 4}, 2: {4, 5}}, None, {2: [Branch(1, at(4.5))]})
    assert done.passed
    assert "timeline 1, 2" in done.finding


def test_a_backup_on_a_branch_that_was_left_behind() -> None:
    """It was taken while the server was on timeline 2, and that is back on 1."""
    found = listing({1: set(range(9)), 2: {4, 5}}, [], [2])
    histories = {2: [Branch(1, at(4.5))]}
    found = replace(found, branches=histories)
    done = contiguous(taken(5, timeline=2), found, histories)
    assert "timeline 2, which was left behind: the server is on timeline 1" in done.finding
    assert contiguous(taken(3), found, histories).passed
    planted = Canary(minute(1), minute(1), 2, at(7), "00000000000000c1")
    assert contiguous(taken(3), found, histories, [planted], (2, at(7))).passed


def test_a_canary_that_the_log_does_not_reach() -> None:
    """Its commit was acknowledged long ago, and the bucket does not have it."""

    def done(timeline: int, place: float) -> Climb:
        planted = Canary(minute(1), minute(1), timeline, at(place), "00000000000000c1")
        return contiguous(taken(2), listing({1: {2, 3}}), {}, [planted])

    assert done(1, 3.5).passed
    assert done(1, 4).passed
    assert "canary 00000000000000c1" in done(1, 4.1).finding
    assert "lies behind that" in done(2, 3.5).finding


def test_an_end_that_was_there_before() -> None:
    log = listing({1: {2, 3}})
    assert contiguous(taken(2), log, {}, seen_until=(1, at(4))).passed
    assert "its end has gone" in contiguous(taken(2), log, {}, seen_until=(1, at(4.2))).finding
    assert "its end has gone" in contiguous(taken(2), log, {}, seen_until=(2, at(3))).finding


@pytest.mark.parametrize(
    ("present", "tails", "histories", "says"),
    [
        ({}, [], {}, "holds no write-ahead log"),
        ({1: {2, 3, 5}}, [], {}, "segment 000000010000000000000004 is missing"),
        ({1: {2, 5, 6}}, [], {}, "segment 000000010000000000000003 is missing"),
        ({1: {2, 3}}, [(1, 5.5)], {}, "segment 000000010000000000000004 is missing"),
        ({1: {2, 3, 4}, 2: {4, 5}}, [], {}, "no history file says how that"),
        ({1: {2, 3}, 2: {5, 6}}, [], {2: [Branch(1, at(4.5))]}, "segment 000000010000000000000004 is missing"),
        ({1: {2, 3, 4}, 2: {4, 6}}, [], {2: [Branch(1, at(4.5))]}, "segment 000000020000000000000005 is missing"),
    ],
    ids=["nothing", "hole", "behind-the-backup", "tail", "no-history", "at-the-fork", "behind-the-fork"],
)  # fmt: skip
def test_what_is_missing_is_named(
    present: dict[int, set[int]], tails: list[tuple[int, float]], histories: Histories, says: str
) -> None:
    done = climbed(present, tails, histories)
    assert not done.passed
    assert says in done.finding
