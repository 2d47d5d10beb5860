"""How much of tables and of btree indexes is dead or free: measured where that may be, else estimated."""

from collections.abc import Iterator

from ops_workflows.tables.estimate import btree_bytes, heap_bytes
from ops_workflows.tables.findings import Finding, Kind, Outcome, amount, unknown, warning
from ops_workflows.tables.readings import Index, Readings, Table
from ops_workflows.tables.thresholds import Thresholds


def bloat(readings: Readings, thresholds: Thresholds) -> Outcome:
    """Tables and btree indexes of which a large part is dead or free."""
    btrees = [each for each in readings.indexes if each.method == "btree" and not each.is_partitioned]
    relations: list[Table | Index] = [*readings.tables, *btrees]
    found = [finding for each in relations for finding in _judge(each, readings, thresholds)]
    return Outcome.of(Kind.NO_BLOAT, len(relations), found)


def wasted_bytes(each: Table | Index, readings: Readings) -> float | None:
    """What would go if a table or a btree index were built anew; None if nobody can tell."""
    if each.bytes is None:
        return None
    if (measured := readings.measured.get(each.oid)) is not None:
        kept_free = measured.bytes * (100 - each.fillfactor) / 100
        return max(measured.dead_bytes + measured.free_bytes - kept_free, 0)
    rows, columns = _rows(each, readings), readings.columns.get(each.oid)
    if rows is None or not columns:
        return None
    need = heap_bytes if isinstance(each, Table) else btree_bytes
    needed = need(rows, columns, each.fillfactor, readings.circumstances.block_bytes)
    return None if needed is None else max(each.bytes - needed, 0)


def _rows(each: Table | Index, readings: Readings) -> float | None:
    """How many there are, where an estimate may rest on it."""
    if isinstance(each, Table):
        # How long values are that lie out of line, no statistics tell.
        return each.rows if each.is_heap and not each.is_toast else None
    if each.predicate is not None:
        return each.rows if each.rows >= 0 else None
    table = _table_of(each, readings)
    return table.rows if table else None


def _judge(each: Table | Index, readings: Readings, thresholds: Thresholds) -> Iterator[Finding]:
    size = each.pages * readings.circumstances.block_bytes if each.bytes is None else each.bytes
    if size < thresholds.least_bytes:
        return
    wasted = wasted_bytes(each, readings)
    if wasted is None:
        yield _nobody_knows(each, size, readings)
    elif wasted >= thresholds.least_bytes and wasted > thresholds.most_bloat * size:
        how = "measured" if each.oid in readings.measured else "estimated"
        part = f"{amount(wasted)} ({wasted / size:.0%}, {how})"
        if isinstance(each, Table):
            said = f"{each.label} has {amount(size)}, of which {part} are dead or free."
            do = (
                "a plain VACUUM lets new rows have the room; to give it back, VACUUM FULL "
                f"{each.name}, which locks everybody out, or pg_repack"
            )
        else:
            said = f"Index {each.name} has {amount(size)}, of which {part} would go if it were built anew."
            do = f"REINDEX INDEX CONCURRENTLY {each.name}"
        yield warning(_label(each), said, do, size=wasted)


def _nobody_knows(each: Table | Index, size: int, readings: Readings) -> Finding:
    name, table = _label(each), each if isinstance(each, Table) else _table_of(each, readings)
    measure = "CREATE EXTENSION pgstattuple, and GRANT pg_stat_scan_tables TO the role of OPS_UPKEEP_DSN"
    if each.bytes is None:
        why, do = "somebody had it to themselves when it was looked at", "look again"
    elif not (table and table.is_heap):
        why, do = "it is stored in a way of its own", "ask those who made that way"
    elif table.is_toast:
        why, do = "no statistics say how long values out of line are", measure
    elif isinstance(each, Index) and len(each.key_columns) < len(each.keys):
        why, do = "the statistics of an expression are shown to its owner only", measure
    elif table.shows_statistics:
        why, do = "it was never analyzed, or has columns without statistics", f"ANALYZE {table.name}, or {measure}"
    else:
        why = "without SELECT, or for row security, this role does not see the statistics of its columns"
        do = f"GRANT SELECT ON {table.name} TO the role of OPS_UPKEEP_DSN, or {measure}"
    return unknown(name, f"How bloated {name} is, of {amount(size)}, cannot be told: {why}.", do, weight=size)


def _table_of(index: Index, readings: Readings) -> Table | None:
    return next((table for table in readings.tables if table.oid == index.table_oid), None)


def _label(each: Table | Index) -> str:
    return each.label if isinstance(each, Table) else each.name
