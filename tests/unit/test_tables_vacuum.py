"""When autovacuum comes, whether it gets through, and who holds it back."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from ops_workflows.tables.findings import Verdict
from ops_workflows.tables.readings import (
    Holder,
    Vacuum,
)
from ops_workflows.tables.vacuum import autovacuum, dead_rows, dead_rows_due
from tests.support.table_readings import LIMITS, NOW, SERVER, TABLE, only, readings


@pytest.mark.parametrize(
    ("table", "server", "due"),
    [
        ({}, {}, 200_050),
        ({"reltuples": -1}, {}, 50),
        ({"vacuum_scale_factor": 0.0, "vacuum_threshold": 1000}, {}, 1000),
        ({"vacuum_scale_factor": 0.01}, {}, 10_050),
        ({}, {"vacuum_max_threshold": 100_000}, 100_000),
        ({}, {"vacuum_max_threshold": -1}, 200_050),
        ({"vacuum_max_threshold": 500}, {"vacuum_max_threshold": 100_000}, 500),
        ({"vacuum_max_threshold": -1}, {"vacuum_max_threshold": 100_000}, 200_050),
        ({"vacuum_max_threshold": 500}, {"vacuum_max_threshold": None}, 200_050),
    ],
)
def test_when_autovacuum_comes(table: dict[str, float], server: dict[str, int], due: float) -> None:
    assert dead_rows_due(replace(TABLE, **table), replace(SERVER, **server)) == due  # type: ignore[arg-type]


def test_dead_rows_count_beside_what_autovacuum_waits_for() -> None:
    below, above = replace(TABLE, dead_rows=400_099), replace(TABLE, dead_rows=400_100)
    few = replace(TABLE, reltuples=0, live_rows=0, dead_rows=9_999)
    assert dead_rows(readings(tables=[below, few]), LIMITS).verdict is Verdict.OK
    found = only(dead_rows(readings(tables=[above]), LIMITS))
    assert "400,100 dead rows beside 1,000,000 living ones; autovacuum comes at 200,050." in found.said
    assert only(dead_rows(readings(replace(SERVER, counts=False), tables=[TABLE]), LIMITS)).verdict is Verdict.UNKNOWN


DUE = replace(TABLE, dead_rows=300_000)


@pytest.mark.parametrize(
    ("table", "server", "verdict", "said"),
    [
        ({}, {}, Verdict.OK, ""),
        ({"vacuumed_at": NOW - timedelta(hours=25)}, {}, Verdict.WARNING, "canceling autovacuum task"),
        ({"vacuumed_at": NOW - timedelta(hours=25)}, {"workers": 3}, Verdict.WARNING, "all 3 workers are busy"),
        ({"vacuumed_at": NOW - timedelta(hours=25), "dead_rows": 200_050}, {}, Verdict.OK, ""),
        ({"vacuumed_at": None}, {}, Verdict.WARNING, "No vacuum of it is known."),
        ({"vacuumed_at": None}, {"counted_since": NOW - timedelta(hours=2)}, Verdict.UNKNOWN, "counters began only"),
        ({"vacuumed_at": None}, {"counted_since": None}, Verdict.WARNING, "No vacuum of it is known."),
        ({"autovacuum": False}, {}, Verdict.WARNING, "by its option autovacuum_enabled"),
        ({"age": 1.25}, {}, Verdict.WARNING, "1.25 times as old"),
        ({}, {"autovacuum": False}, Verdict.WARNING, "autovacuum is off"),
        ({}, {"counts": False}, Verdict.WARNING, "track_counts is off"),
        ({}, {"sees_all": False}, Verdict.UNKNOWN, "hidden from this role"),
    ],
)
def test_whether_autovacuum_gets_through(
    table: dict[str, object], server: dict[str, object], verdict: Verdict, said: str
) -> None:
    looked = readings(replace(SERVER, **server), tables=[replace(DUE, **table)])  # type: ignore[arg-type]
    outcome = autovacuum(looked, LIMITS)
    assert outcome.verdict is verdict
    if said:
        assert said in only(outcome).sentence


def test_a_table_at_which_a_vacuum_is_at_work_is_not_overdue() -> None:
    overdue = replace(DUE, vacuumed_at=NOW - timedelta(days=3))
    at_work = Vacuum(77, TABLE.oid, "scanning heap", NOW - timedelta(hours=5), True, 1000, 200)
    assert autovacuum(readings(tables=[overdue], vacuums=[at_work]), LIMITS).verdict is Verdict.OK
    endless = replace(at_work, since=NOW - timedelta(hours=7))
    found = only(autovacuum(readings(tables=[overdue], vacuums=[endless]), LIMITS))
    assert "Process 77 vacuums public.t since 2026-02-28 22:40 UTC (scanning heap, 200 of 1,000 blocks" in found.said


@pytest.mark.parametrize(
    ("holder", "said", "do"),
    [
        (
            Holder("session", "4711 of app (web) idle in transaction", NOW - timedelta(hours=2), 10, False),
            "The session 4711 of app (web) idle in transaction keeps vacuums since 2026-03-01 03:40 UTC",
            "pg_terminate_backend(4711)",
        ),
        (Holder("slot", "old", None, 2_000_000, False), "slot old keeps", "pg_drop_replication_slot('old')"),
        (Holder("slot", "cdc", None, 2_000_000, True), "rows of the system's tables that died", "start its consumer"),
        (Holder("standby", "replica", None, 2_000_000, False), "newest 2,000,000 transactions", "hot_standby_feedback"),
        (
            Holder("prepared transaction", "gid of app", NOW - timedelta(hours=2), 5, False),
            "300,000 dead rows of 1 table are due",
            "ROLLBACK PREPARED",
        ),
    ],
)
def test_who_holds_vacuums_back_is_named(holder: Holder, said: str, do: str) -> None:
    found = only(autovacuum(readings(tables=[DUE], holders=[holder]), LIMITS))
    assert said in found.said
    assert do in found.do


@pytest.mark.parametrize("since", [NOW - timedelta(minutes=59), None])
def test_a_young_transaction_holds_nothing_back_that_matters(since: datetime | None) -> None:
    holder = Holder("session", "1 of app active", since, 999_999, False)
    assert autovacuum(readings(tables=[DUE], holders=[holder]), LIMITS).verdict is Verdict.OK
