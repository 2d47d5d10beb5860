"""Where a backup stands: passed, failed, stale and not run are four different things."""

from datetime import timedelta

import pytest

from ops_workflows.proof.verify import in_turn
from ops_workflows.repository.proofs import Proof, State, state
from ops_workflows.repository.rungs import Rung
from ops_workflows.repository.standing import standing
from tests.support.records import MOMENT, backup

WEEK = timedelta(days=7)


def proof(rung: Rung, *, passed: bool = True, days_ago: float = 0, seen: str = "a", backup_id: str = "x") -> Proof:
    at = MOMENT - timedelta(days=days_ago)
    return Proof(backup_id=backup_id, what=rung, passed=passed, finding="", at=at, seconds=1, seen=seen)


@pytest.mark.parametrize(
    ("last", "is_now"),
    [
        (None, State.NOT_RUN),
        (proof(Rung.STORED), State.PASSED),
        (proof(Rung.STORED, days_ago=6.9), State.PASSED),
        (proof(Rung.STORED, days_ago=7.1), State.STALE),
        (proof(Rung.STORED, days_ago=-0.1), State.STALE),
        (proof(Rung.STORED, seen="b"), State.STALE),
        (proof(Rung.STORED, passed=False), State.FAILED),
        (proof(Rung.STORED, passed=False, days_ago=99, seen="b"), State.FAILED),
    ],
)
def test_what_a_proof_is_worth(last: Proof | None, is_now: State) -> None:
    assert state(last, MOMENT, WEEK, "a") is is_now


def test_nothing_was_tried() -> None:
    stands = standing({}, MOMENT, 7)
    assert set(stands.states.values()) == {State.NOT_RUN}
    assert (stands.highest, stands.failed, stands.said, stands.age) == (None, None, "not run", "")


def test_the_highest_counts_and_what_is_left_out_below_it_is_not_called_shown() -> None:
    stands = standing({each: proof(each, days_ago=1) for each in (Rung.STORED, Rung.BOOTED)}, MOMENT, 7)
    assert (stands.highest, stands.said, stands.age) == (Rung.BOOTED, "booted", "24 h")
    assert stands.states[Rung.CHECKSUMMED] is State.NOT_RUN


def test_nothing_above_a_failure_counts() -> None:
    shown = {each: proof(each) for each in Rung} | {Rung.RESTORED: proof(Rung.RESTORED, passed=False)}
    stands = standing(shown, MOMENT, 7)
    assert (stands.highest, stands.failed) == (Rung.CONTIGUOUS, Rung.RESTORED)
    assert stands.said == "✗ restored failed; contiguous"


def test_what_is_old_is_called_stale() -> None:
    stands = standing({Rung.STORED: proof(Rung.STORED, days_ago=10)}, MOMENT, 7)
    assert (stands.said, stands.age) == ("stored (stale)", "10 days")


ABOVE = frozenset({Rung.RESTORED, Rung.BOOTED, Rung.SOUND})


def turns(shown: dict[str, dict[str, Proof]]) -> str:
    backups = [backup(id=f"{day}", finished_at=MOMENT + timedelta(days=day)) for day in range(3)]
    return "".join(each.id for each in in_turn(backups, shown, ABOVE))


def test_the_turn_is_that_of_who_has_waited_longest() -> None:
    shown = {"0": {}, "1": {Rung.SOUND: proof(Rung.SOUND, days_ago=3)}, "2": {Rung.SOUND: proof(Rung.SOUND)}}
    assert turns(shown) == "012"
    assert turns(shown | {"0": {Rung.SOUND: proof(Rung.SOUND, days_ago=1)}}) == "102"
    assert turns({"0": {}, "1": {}, "2": {}}) == "210"


def test_one_that_failed_further_up_was_tried() -> None:
    failed = {Rung.RESTORED: proof(Rung.RESTORED, passed=False)}
    assert turns({"0": {Rung.SOUND: proof(Rung.SOUND, days_ago=2)}, "1": {}, "2": failed}) == "102"
    below = {Rung.STORED: proof(Rung.STORED)}
    assert turns({"0": below, "1": failed, "2": failed | below}) == "021"
