"""How what came back is held against what was counted."""

import pytest

from ops_workflows.proof.booted import compared, differences
from ops_workflows.repository.backup import RowsRecord, TableRows
from tests.support.records import MOMENT

FOUND = {("shop", "public.a"): 10, ("shop", "public.b"): 0}
SCHEMA = {"relation public.a": "aa", "relation public.b": "bb"}


def expected(exact: bool = True, **more: object) -> RowsRecord:
    tables = tuple(TableRows(database=database, table=table, rows=rows) for (database, table), rows in FOUND.items())
    usual = {"exact": exact, "counted_at": MOMENT, "tables": tables, "schemas": {"shop": SCHEMA}}
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


def test_a_table_that_is_gone() -> None:
    found = {("shop", "public.b"): 0}
    assert faults(expected(), found) == ["public.a of shop is missing"]
    assert faults(expected(changing={"shop": ("relation public.a",)}), found) == []


def test_an_uncounted_table_may_have_any_number() -> None:
    assert faults(expected(), FOUND | {("shop", "public.c"): 99}) == []


def test_schema() -> None:
    assert faults(expected(), schema={"relation public.a": "aa"}) == ["relation public.b of shop is missing"]
    assert faults(expected(), schema=SCHEMA | {"relation public.b": "xx"}) == ["relation public.b of shop differs"]
    assert faults(expected(), schema=SCHEMA | {"view x": "1"}) == ["view x of shop is unexpected"]
    assert faults(expected(changing={"shop": ("view x",)}), schema=SCHEMA | {"view x": "1"}) == []


def test_a_database_that_is_gone() -> None:
    assert "database shop is missing" in list(differences(expected(), FOUND, {}))


def test_in_words() -> None:
    assert compared(None) == "not at all"
    assert compared(expected(True)) == "exactly"
    assert compared(expected(False)).startswith("from below")
