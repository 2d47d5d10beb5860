"""What is kept in order to count at the end, and how what came back is held against what was counted."""

import pytest

from ops_workflows.backup.rows import Snapshots
from ops_workflows.postgres.inventory import EDITION, Snapshot
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.proof.booted import compared, differences
from ops_workflows.repository.backup import RowsRecord, TableRows
from tests.support.records import MOMENT

FOUND = {("shop", "public.a"): 10, ("shop", "public.b"): 0}
SCHEMA = {"relation public.a": "aa", "relation public.b": "bb"}


def expected(exact: bool = True, **more: object) -> RowsRecord:
    tables = tuple(TableRows(database=database, table=table, rows=rows) for (database, table), rows in FOUND.items())
    usual = {"exact": exact, "counted_at": MOMENT, "tables": tables, "schemas": {"shop": SCHEMA}, "edition": EDITION}
    return RowsRecord(**(usual | more))  # type: ignore[arg-type]


def faults(record: RowsRecord, found: dict[tuple[str, str], int] = FOUND, schema: dict[str, str] = SCHEMA) -> list[str]:
    return list(differences(record, found, {"shop": schema}))


@pytest.mark.parametrize("exact", [True, False])
def test_what_is_equal_has_no_faults(exact: bool) -> None:
    assert faults(expected(exact)) == []


@pytest.mark.parametrize(("rows", "exactly", "from_below"), [(9, 1, 1), (10, 0, 0), (11, 1, 0)])
def test_rows(rows: int, exactly: int, from_below: int) -> None:
    found = FOUND | {("shop", "public.a"): rows}
    assert len(faults(expected(True), found)) == exactly
    assert len(faults(expected(False), found)) == from_below


@pytest.mark.parametrize("exact", [True, False])
def test_a_table_that_is_gone(exact: bool) -> None:
    found = {("shop", "public.b"): 0}
    assert faults(expected(exact), found) == ["public.a of shop is missing"]


def test_an_uncounted_table_may_have_any_number() -> None:
    assert faults(expected(), FOUND | {("shop", "public.c"): 99}) == []


@pytest.mark.parametrize("exact", [True, False])
def test_an_object_that_is_gone_or_is_another(exact: bool) -> None:
    record = expected(exact)
    assert faults(record, schema={"relation public.a": "aa"}) == ["relation public.b of shop is missing"]
    assert faults(record, schema=SCHEMA | {"relation public.b": "xx"}) == ["relation public.b of shop differs"]


def test_an_object_that_nobody_expects_is_a_fault_where_all_was_quiet() -> None:
    more = SCHEMA | {"view x": "1"}
    assert faults(expected(True), schema=more) == ["view x of shop is unexpected"]
    assert faults(expected(True, changing={"shop": ("view x",)}), schema=more) == []
    assert faults(expected(False), schema=more) == []


def test_definitions_that_were_digested_in_another_way_are_not_compared_and_rows_are() -> None:
    record = expected(edition=EDITION - 1)
    assert faults(record, schema={"relation public.c": "cc"}) == []
    assert len(faults(record, FOUND | {("shop", "public.a"): 9})) == 1
    assert "definitions not" in compared(record)


def test_a_database_that_is_gone() -> None:
    assert "database shop is missing" in list(differences(expected(), FOUND, {}))


def snapshot(number: int) -> Snapshot:
    return Snapshot(oldest=number, next=number, lsn=Lsn(number))


@pytest.mark.parametrize("asked", [1, 511, 512, 513, 28_800, 500_000])
def test_few_snapshots_are_kept_of_a_long_backup_and_evenly(asked: int) -> None:
    kept = Snapshots()
    taken = []
    for number in range(asked):
        if kept.is_due():
            kept.keep(snapshot(number))
            taken.append(number)
    assert len(kept) <= 512
    for stop in (0, asked // 3, asked - 1):
        newest = kept.newest(Lsn(stop))
        assert newest is not None
        assert stop - max(asked // 128, 1) < newest.lsn <= stop
    assert len(taken) < 5000  # the others were not even asked for


def test_no_snapshot_from_after_the_end_is_used() -> None:
    kept = Snapshots()
    for number in (5, 7, 7, 9):
        kept.keep(snapshot(number))
    assert kept.newest(Lsn(4)) is None
    assert kept.newest(Lsn(8)) == snapshot(7)


def test_in_words() -> None:
    assert compared(None) == "not at all"
    assert compared(expected(True)) == "exactly"
    assert compared(expected(False)).startswith("from below")
