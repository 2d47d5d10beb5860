from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_workflows.errors import RefusedError
from ops_workflows.schema.files import Migration
from ops_workflows.schema.plan import NOTHING, Direction, Position, plan_down, plan_up


def migration(version: int, *, down: bool = True) -> Migration:
    return Migration(version, f"m{version}", Path(f"{version}.up"), Path(f"{version}.down") if down else None)


THREE = (migration(1), migration(5), migration(9))


def test_up_from_nothing_takes_all_in_order() -> None:
    steps = plan_up(Position(), THREE)
    assert [(step.direction, step.script, step.target) for step in steps] == [
        (Direction.UP, Path("1.up"), 1),
        (Direction.UP, Path("5.up"), 5),
        (Direction.UP, Path("9.up"), 9),
    ]


def test_up_takes_what_lies_ahead_and_no_more_than_asked_for() -> None:
    assert [step.target for step in plan_up(Position(1), THREE)] == [5, 9]
    assert [step.target for step in plan_up(Position(1), THREE, limit=1)] == [5]
    assert plan_up(Position(9), THREE) == []


def test_down_records_the_version_before() -> None:
    steps = plan_down(Position(9), THREE, 3)
    assert [(step.script, step.target) for step in steps] == [
        (Path("9.down"), 5),
        (Path("5.down"), 1),
        (Path("1.down"), NOTHING),
    ]


@pytest.mark.parametrize("steps", [0, -1])
def test_down_wants_an_explicit_number(steps: int) -> None:
    with pytest.raises(RefusedError, match="at least one"):
        plan_down(Position(9), THREE, steps)


def test_down_refuses_more_than_was_applied_before_taking_the_first() -> None:
    with pytest.raises(RefusedError, match="only 2 have been applied"):
        plan_down(Position(5), THREE, 3)


def test_down_refuses_where_there_is_no_way_back() -> None:
    with pytest.raises(RefusedError, match=r"past 1\.up"):
        plan_down(Position(5), (migration(1, down=False), migration(5)), 2)


@pytest.mark.parametrize("version", [NOTHING, 1, 7])
def test_dirty_is_refused_both_ways(version: int) -> None:
    for plan in (lambda position: plan_up(position, THREE), lambda position: plan_down(position, THREE, 1)):
        with pytest.raises(RefusedError, match="dirty"):
            plan(Position(version, dirty=True))


def test_a_version_without_a_file_is_refused() -> None:
    with pytest.raises(RefusedError, match="version 12, which has no file"):
        plan_up(Position(12), THREE)


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(RefusedError, match="at least one"):
        plan_up(Position(), THREE, limit=0)


@given(st.sets(st.integers(0, 2**63 - 1), min_size=1, max_size=12), st.data())
def test_down_is_up_backwards(versions: set[int], data: st.DataObject) -> None:
    migrations = [migration(version) for version in sorted(versions)]
    up = plan_up(Position(), migrations)
    back = data.draw(st.integers(1, len(up)))
    down = plan_down(Position(up[-1].target), migrations, back)
    assert [step.migration for step in down] == [step.migration for step in reversed(up[-back:])]
    left = up[: len(up) - back]
    assert down[-1].target == (left[-1].target if left else NOTHING)
    assert plan_up(Position(down[-1].target), migrations) == up[-back:]
