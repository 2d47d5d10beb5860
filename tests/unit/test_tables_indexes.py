"""Indexes that nobody uses, and those that do what another does."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from ops_workflows.tables.findings import Verdict
from ops_workflows.tables.indexes import replaces, unused
from tests.support.table_readings import INDEX, LIMITS, MB, NOW, SERVER, duplicates, only, readings

UNIQUE = {"is_unique": True}
AB = replace(INDEX, oid=11, root=11, name="public.t_ab", keys=["1 int4_ops", "2 int4_ops"], key_columns=[1, 2])


@pytest.mark.parametrize(
    ("other", "index", "does"),
    [
        ({}, {}, True),
        (UNIQUE, {}, True),
        ({}, UNIQUE, False),
        (UNIQUE, UNIQUE, True),
        (UNIQUE | {"nulls_distinct": False}, UNIQUE, False),
        (UNIQUE | {"is_immediate": False}, UNIQUE, False),
        ({"keys": ["1 int4_ops", "2 int4_ops"]}, {}, True),
        ({"keys": ["1 int4_ops", "2 int4_ops"], "is_unique": True}, UNIQUE, False),
        ({"keys": ["2 int4_ops", "1 int4_ops"]}, {}, False),
        ({}, {"keys": ["1 int4_ops", "2 int4_ops"]}, False),
        ({"keys": ["1 text_pattern_ops"]}, {}, False),
        ({"predicate": "(a > 0)"}, {}, False),
        ({}, {"predicate": "(a > 0)"}, False),
        ({"predicate": "(a > 0)"}, {"predicate": "(a > 0)"}, True),
        ({}, {"included": [3]}, False),
        ({"included": [3, 4]}, {"included": [3]}, True),
        ({"keys": ["1 int4_ops", "3 int4_ops"], "key_columns": [1, 3]}, {"included": [3]}, True),
        ({"method": "hash"}, {}, False),
        ({"method": "gin", "keys": ["1 x", "2 x"]}, {"method": "gin", "keys": ["1 x"]}, False),
        ({"method": "gin", "keys": ["1 x"]}, {"method": "gin", "keys": ["1 x"]}, True),
        ({"is_valid": False}, {}, False),
    ],
)
def test_whether_an_index_replaces_another(other: dict[str, object], index: dict[str, object], does: bool) -> None:
    assert replaces(replace(INDEX, oid=12, **other), replace(INDEX, **index)) is does  # type: ignore[arg-type]


def test_of_two_alike_the_one_that_is_used_and_that_something_rests_on_stays() -> None:
    twin = replace(INDEX, oid=12, root=12, name="public.twin", scans=5)
    assert only(duplicates(readings(indexes=[INDEX, twin]))).what == "public.t_a"
    primary = replace(INDEX, oid=13, root=13, name="public.t_pkey", is_unique=True, is_primary=True)
    constraint = replace(twin, is_unique=True, unique_constraint="twin", name="public.twin")
    found = only(duplicates(readings(indexes=[constraint, primary])))
    assert found.do == "ALTER TABLE public.t DROP CONSTRAINT twin"
    assert duplicates(readings(indexes=[replace(constraint, is_referenced=True), primary])).findings == ()
    assert only(duplicates(readings(indexes=[AB, INDEX]))).do == "DROP INDEX CONCURRENTLY public.t_a"
    elsewhere = replace(AB, table_oid=2)
    assert duplicates(readings(indexes=[elsewhere, INDEX])).findings == ()


def test_an_idle_index_is_no_reason_to_drop_one_that_is_used() -> None:
    used = replace(INDEX, scans=5, made_at=NOW - timedelta(days=90))
    wider = replace(used, oid=12, root=12, name="public.t_a_with_b", included=[2], scans=0)
    for made in (wider.made_at, None):
        looked = readings(indexes=[used, replace(wider, made_at=made)])
        assert only(unused(looked, LIMITS)).do.endswith("DROP INDEX CONCURRENTLY public.t_a_with_b")
        assert duplicates(looked).findings == (), "of the two, one has to stay"
    assert only(duplicates(readings(indexes=[used, replace(wider, scans=1)]))).what == "public.t_a"
    assert only(duplicates(readings(indexes=[replace(used, scans=0), wider]))).what == "public.t_a"
    assert only(duplicates(readings(indexes=[used, replace(wider, bytes=8192)]))).what == "public.t_a"


def test_of_two_alike_on_a_partitioned_table_the_idle_one_is_superfluous() -> None:
    first = replace(INDEX, name="public.p_a", is_partitioned=True, bytes=0)
    second = replace(first, oid=14, root=14, name="public.p_a2")
    part = replace(INDEX, oid=20, table_oid=2, root=10, is_attached=True, name="public.p1_a")
    busy = replace(part, oid=22, root=14, name="public.p1_a2", scans=7)
    looked = readings(indexes=[first, part, second, busy])
    assert only(duplicates(looked)).what == only(unused(looked, LIMITS)).what == "public.p_a"


def test_an_index_of_partitions_is_one_with_theirs() -> None:
    whole = replace(INDEX, name="public.p_a", is_partitioned=True, bytes=0, pages=0)
    part = replace(INDEX, oid=20, table_oid=2, root=10, is_attached=True, name="public.p1_a")
    twin = replace(whole, oid=14, root=14, name="public.p_a2")
    parts = [part, replace(part, oid=21, table_oid=3, scans=1)]
    assert unused(readings(indexes=[whole, *parts]), LIMITS).findings == (), "that of one partition was used"
    idle = only(unused(readings(indexes=[whole, part]), LIMITS))
    assert (idle.what, idle.bytes) == ("public.p_a", 20 * MB)
    assert idle.do.endswith("DROP INDEX public.p_a")
    both = readings(indexes=[whole, part, twin, replace(part, oid=22, root=14, name="public.p1_a2")])
    found = only(duplicates(both))
    assert (found.what, found.bytes) == ("public.p_a2", 20 * MB), "those of partitions go with it, and are not said"


@pytest.mark.parametrize(
    "changed",
    [
        {"scans": 1},
        {"is_unique": True},
        {"is_primary": True},
        {"is_exclusion": True},
        {"is_identity": True},
        {"is_referenced": True},
        {"serves_foreign_key": True},
        {"is_valid": False},
        {"bytes": 8192},
    ],
)
def test_an_index_that_is_used_or_needed_or_small_is_none_to_drop(changed: dict[str, bool]) -> None:
    old = replace(INDEX, made_at=NOW - timedelta(days=90))
    assert only(unused(readings(indexes=[old]), LIMITS)).verdict is Verdict.WARNING
    assert unused(readings(indexes=[replace(old, **changed)]), LIMITS).findings == ()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("counted", "made"),
    [(NOW - timedelta(days=29), None), (None, None), (NOW - timedelta(days=99), NOW - timedelta(days=1))],
)
def test_whether_a_young_index_is_used_nobody_knows(counted: datetime | None, made: datetime | None) -> None:
    looked = readings(replace(SERVER, counted_since=counted), indexes=[replace(INDEX, made_at=made)])
    assert only(unused(looked, LIMITS)).verdict is Verdict.UNKNOWN


def test_that_the_age_of_an_idle_index_is_not_known_is_said_before_anything_is_advised() -> None:
    counted = NOW - timedelta(days=60)
    known = only(unused(readings(indexes=[replace(INDEX, made_at=NOW - timedelta(days=45))]), LIMITS))
    assert (known.verdict, known.bytes) == (Verdict.WARNING, 20 * MB)
    assert known.said.endswith(f"since {NOW - timedelta(days=45):%Y-%m-%d %H:%M} UTC.")
    hidden = only(unused(readings(indexes=[INDEX]), LIMITS))
    assert (hidden.verdict, hidden.bytes) == (Verdict.UNKNOWN, 20 * MB)
    assert f"since {counted:%Y-%m-%d %H:%M} UTC, or since it was made if that was later, which" in hidden.said
    assert hidden.do.startswith("find out first how old it is")
    assert "if it is older than 30 days" in hidden.do
