"""How much of a sequence is used, and how long it lasts."""

from dataclasses import replace
from datetime import timedelta

import pytest

from ops_workflows.tables.findings import Verdict
from ops_workflows.tables.sequences import left_for, sequences, used
from tests.support.table_readings import LIMITS, NOW, NUMBER, SERVER, only, readings


@pytest.mark.parametrize(
    ("number", "share"),
    [
        ({}, 0.0),
        ({"last": 2**62}, 0.5),
        ({"last": 2_000_000_000, "column_most": 2**31 - 1}, 0.931),
        ({"last": 2_000_000_000, "maximum": 2**31 - 1}, 0.931),
        ({"last": 2_000_000_000, "column_most": None}, 0.0),
        ({"last": 9, "maximum": 10, "cycles": True}, None),
        ({"last": 30_000, "column_most": 32_767, "cycles": True}, 0.9155),
        ({"last": -90, "increment": -1, "minimum": -100, "maximum": -1}, 0.899),
        ({"last": -(2**30), "increment": -1, "minimum": -(2**63), "maximum": -1, "column_most": 2**31 - 1}, 0.5),
        ({"last": 1, "minimum": 1, "maximum": 1}, 1.0),
        ({"is_visible": False}, None),
    ],
)
def test_how_much_of_a_sequence_is_used(number: dict[str, int], share: float | None) -> None:
    found = used(replace(NUMBER, **number))  # type: ignore[arg-type]
    assert found == (share if share is None else pytest.approx(share, abs=1e-3))


def test_how_long_a_sequence_lasts_is_said_only_where_there_is_a_pace() -> None:
    near = replace(NUMBER, last=2**31 - 1 - 60_000, column_type="integer", column_most=2**31 - 1, inserted=60_000)
    assert left_for(near, SERVER) == timedelta(days=60)
    assert left_for(replace(near, increment=2), SERVER) == timedelta(days=30)
    assert left_for(replace(near, inserted=0), SERVER) is None
    assert left_for(near, replace(SERVER, counted_since=NOW - timedelta(days=29))) is None
    assert left_for(replace(near, column_most=2**63 - 1, inserted=1), SERVER) is None, "longer than a date can say"
    found = only(sequences(readings(numbers=[near]), LIMITS))
    assert "at the pace of rows inserted since 2025-12-31, they last 2.0 months at most" in found.said
    assert "make public.t.id a bigint" in found.do


def test_sequences_that_are_hidden_are_unknown() -> None:
    found = only(sequences(readings(numbers=[replace(NUMBER, is_visible=False), NUMBER]), LIMITS))
    assert found.verdict is Verdict.UNKNOWN
    assert "public.s" in found.said
