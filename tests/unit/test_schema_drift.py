"""Files, history and position that do not agree."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from ops_workflows.schema.drift import drift
from ops_workflows.schema.files import Migration
from ops_workflows.schema.history import Entry
from ops_workflows.schema.plan import Position

MOMENT = datetime(2026, 1, 31, tzinfo=UTC)


def files(*versions: int) -> list[Migration]:
    return [Migration(version, "step", Path(f"{version:06d}_step.up.sql"), None) for version in versions]


def entries(*done: tuple[str, int], result: str = "applied") -> list[Entry]:
    return [
        Entry(number, version, direction, "step", f"sha {version}", "a test", MOMENT, MOMENT, result, 0, "")
        for number, (direction, version) in enumerate(done, 1)
    ]


def found(position: int, versions: list[int], history: list[Entry], **altered: str) -> list[str]:
    digests = {version: altered.get(f"v{version}", f"sha {version}") for version in versions}
    return drift(Position(position), files(*versions), digests, history)


def test_all_is_as_it_was_applied() -> None:
    assert found(3, [1, 2, 3, 4], entries(("up", 1), ("up", 2), ("up", 3))) == []


def test_a_file_that_was_altered() -> None:
    (said,) = found(2, [1, 2], entries(("up", 1), ("up", 2)), v1="other")
    assert said.startswith("000001_step.up.sql has been altered since it was applied on 2026-01-31")


def test_a_file_that_is_gone() -> None:
    (said,) = found(2, [2], entries(("up", 1), ("up", 2)))
    assert said.startswith("Migration 1 was applied on 2026-01-31 and has no file")


def test_a_file_that_came_late() -> None:
    """Of two branches of the code, the one with the lower number was merged last."""
    (said,) = found(3, [1, 2, 3], entries(("up", 1), ("up", 3)))
    assert said.startswith("000002_step.up.sql was added after later ones had been applied")
    assert "above 3" in said


@pytest.mark.parametrize(
    "history",
    [
        [],
        entries(("up", 3)),  # another program applied the first two
        entries(("baseline", 2), ("up", 3)),
        entries(("up", 1), ("force", 2), ("up", 3)),
        entries(("up", 1), ("up", 2), ("down", 2), ("force", 2), ("up", 3)),
    ],
)
def test_what_was_done_before_the_history_is_not_known(history: list[Entry]) -> None:
    assert found(3, [1, 2, 3], history) == []


def test_what_was_taken_back_may_be_altered_or_gone() -> None:
    history = entries(("up", 1), ("up", 2), ("down", 2))
    assert found(1, [1, 2], history, v2="other") == []
    assert found(1, [1], history) == []


def test_what_failed_was_not_applied() -> None:
    history = [*entries(("up", 1)), *entries(("up", 2), result="failed")]
    assert found(1, [1, 2], history, v2="other") == []
