"""What is said of readings as a whole, and of tables that were never analyzed."""

from dataclasses import replace
from datetime import timedelta

import pytest

from ops_workflows.settings import Settings
from ops_workflows.tables.defs import _CHECKS
from ops_workflows.tables.findings import Kind, Outcome, Verdict, unknown, warning
from ops_workflows.tables.look import judge
from ops_workflows.tables.readings import (
    Parent,
)
from ops_workflows.tables.thresholds import Thresholds
from tests.support.table_readings import LIMITS, MB, NOW, TABLE, only, readings

NEVER = replace(TABLE, analyzed_at=None, has_statistics=False, reltuples=-1.0, live_rows=5_000)


def test_each_kind_is_a_check_of_dagsters_and_the_other_way_round() -> None:
    assert list(_CHECKS) == [each.value for each in Kind]
    assert [each.kind for each in judge(readings(), LIMITS).outcomes] == list(Kind)


def test_an_empty_database_is_well() -> None:
    found = judge(readings(), LIMITS)
    assert {each.verdict for each in found.outcomes} == {Verdict.OK}
    assert all(each.said for each in found.outcomes)


def test_what_will_be_trouble_is_said_before_what_nobody_knows() -> None:
    found = [unknown("u", "Nobody knows.", "look", weight=9), *(warning(n, "Bad.", "mend", weight=w) for n, w in
             (("a", 1), ("b", 3), ("c", 2)))]  # fmt: skip
    outcome = Outcome.of(Kind.NO_BLOAT, 5, found)
    assert [each.what for each in outcome.findings] == ["b", "c", "a", "u"]
    assert outcome.verdict is Verdict.WARNING
    assert Outcome.of(Kind.NO_BLOAT, 1, found[:1]).verdict is Verdict.UNKNOWN
    assert outcome.figures == {"looked_at": 5, "warnings": 3, "unknown": 1, "bytes": 0}


def test_settings_set_the_thresholds() -> None:
    settings = Settings(
        tables_most_bloat=0.3, tables_most_of_sequence=0.9, tables_most_hold_seconds=60, tables_unused_days=7
    )
    assert Thresholds.of(settings) == replace(
        LIMITS,
        most_bloat=0.3,
        most_of_sequence=0.9,
        hold=timedelta(minutes=1),
        unused=timedelta(days=7),
    )
    assert Thresholds.of(Settings()) == LIMITS


@pytest.mark.parametrize(
    ("table", "verdict"),
    [
        ({}, Verdict.WARNING),
        ({"live_rows": 999}, Verdict.OK),
        ({"live_rows": 0}, Verdict.WARNING),
        ({"live_rows": 0, "bytes": MB}, Verdict.OK),
        ({"analyzed_at": NOW}, Verdict.OK),
        ({"has_statistics": True}, Verdict.OK),
        ({"shows_statistics": False}, Verdict.WARNING),
        ({"shows_statistics": False, "reltuples": 5_000.0}, Verdict.UNKNOWN),
        ({"is_toast": True}, Verdict.OK),
    ],
)
def test_a_table_that_was_never_analyzed(table: dict[str, object], verdict: Verdict) -> None:
    looked = readings(tables=[replace(NEVER, **table)])  # type: ignore[arg-type]
    assert judge(looked, LIMITS).outcomes[-1].verdict is verdict


def test_a_partitioned_table_that_was_never_analyzed() -> None:
    parents = [Parent("public.p", False, 1_000), Parent("public.q", True, 10**9), Parent("public.r", False, 999)]
    found = only(judge(readings(parents=parents), LIMITS).outcomes[-1])
    assert (found.what, found.do.startswith("ANALYZE public.p,")) == ("public.p", True)
