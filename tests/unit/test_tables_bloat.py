"""Bloat, measured or estimated."""

from dataclasses import replace

import pytest

from ops_workflows.tables.bloat import bloat, wasted_bytes
from ops_workflows.tables.estimate import btree_bytes, heap_bytes
from ops_workflows.tables.findings import Verdict
from ops_workflows.tables.readings import (
    Measured,
)
from tests.support.table_readings import INDEX, INT, LIMITS, MB, TABLE, only, readings


def test_estimates_are_those_of_a_page_filled_by_hand() -> None:
    # Four bytes are padded to eight; with its header and its pointer a row takes 36, and an index entry 20.
    assert heap_bytes(226 * 10, [INT], 100, 8192) == 10 * 8192
    assert heap_bytes(226 * 10 + 1, [INT], 100, 8192) == 11 * 8192
    assert heap_bytes(113 * 10, [INT], 50, 8192) == 10 * 8192
    entries = btree_bytes(366 * 100, [INT], 90, 8192)
    assert entries is not None
    assert 101 * 8192 <= entries < 102 * 8192
    # A bigint behind an integer begins at the next eighth byte.
    long = replace(INT, length=8, alignment=8, width=8)
    assert heap_bytes(1e6, [INT, long], 100, 8192) == heap_bytes(1e6, [long, long], 100, 8192)
    assert heap_bytes(10, [INT, replace(INT, width=None)], 100, 8192) is None


def test_rows_wider_than_a_page_are_not_divided_by_zero() -> None:
    assert heap_bytes(10, [replace(INT, length=-1, width=9000)], 100, 8192) == 10 * 8192


def test_counters_that_miss_rows_are_not_believed() -> None:
    untold = replace(TABLE, live_rows=0)
    assert untold.rows == TABLE.reltuples
    assert replace(untold, dead_rows=1_000_000).rows == 0
    assert replace(TABLE, live_rows=5, vacuumed_at=None, analyzed_at=None).rows == TABLE.reltuples
    assert replace(TABLE, reltuples=-1, vacuumed_at=None, analyzed_at=None).rows is None


def test_bloat_is_measured_where_it_may_be_and_estimated_else() -> None:
    full = readings(tables=[TABLE], columns={1: [INT] * 20})
    assert bloat(full, LIMITS).verdict is Verdict.OK
    gone = readings(tables=[replace(TABLE, live_rows=1000, reltuples=1000)], columns={1: [INT] * 20})
    assert "(100%, estimated) are dead or free" in only(bloat(gone, LIMITS)).said
    measured = replace(gone, measured={1: Measured(100 * MB, 10 * MB, 10 * MB)})
    assert wasted_bytes(measured.tables[0], measured) == 20 * MB
    assert bloat(measured, LIMITS).verdict is Verdict.OK
    loose = replace(measured, tables=[replace(TABLE, fillfactor=90)])
    assert wasted_bytes(loose.tables[0], loose) == 10 * MB


@pytest.mark.parametrize(
    ("table", "said", "do"),
    [
        ({"bytes": None}, "somebody had it to themselves", "look again"),
        ({"is_toast": True}, "TOAST of public.t", "pg_stat_scan_tables"),
        ({"is_heap": False}, "in a way of its own", "ask"),
        ({}, "never analyzed", "ANALYZE public.t"),
        ({"shows_statistics": False}, "does not see the statistics", "GRANT SELECT ON public.t"),
    ],
)
def test_bloat_that_nobody_can_tell_is_unknown(table: dict[str, bool], said: str, do: str) -> None:
    looked = readings(tables=[replace(TABLE, **table)])  # type: ignore[arg-type]
    found = only(bloat(looked, LIMITS))
    assert (found.verdict, said in found.said, do in found.do) == (Verdict.UNKNOWN, True, True)
    small = readings(tables=[replace(TABLE, **{"bytes": MB, "pages": 128} | table)])  # type: ignore[arg-type]
    assert bloat(small, LIMITS).verdict is Verdict.OK, "it has not as much as would have to be lost"


def test_an_index_is_judged_by_the_rows_of_its_table_or_by_its_own_if_it_has_not_all() -> None:
    grown = replace(INDEX, bytes=200 * MB)
    looked = readings(tables=[replace(TABLE, bytes=MB)], indexes=[grown], columns={10: [INT]})
    assert "REINDEX INDEX CONCURRENTLY public.t_a" in only(bloat(looked, LIMITS)).do
    partial = replace(grown, predicate="(a > 0)", rows=9_000_000)
    assert bloat(replace(looked, indexes=[partial]), LIMITS).verdict is Verdict.OK
    expression = replace(grown, keys=["lower(a)"], key_columns=[])
    found = only(bloat(replace(looked, indexes=[expression], columns={}), LIMITS))
    assert (found.verdict, "shown to its owner only" in found.said) == (Verdict.UNKNOWN, True)
