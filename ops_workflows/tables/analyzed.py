"""Which tables the planner has to guess about, for they were never analyzed."""

from collections.abc import Iterator

from ops_workflows.tables.findings import Finding, Kind, Outcome, amount, unknown, warning
from ops_workflows.tables.readings import Readings, Table
from ops_workflows.tables.thresholds import Thresholds

_UNSEEN_BYTES = 8 * 1024**2  # of a table of which nobody has counted the rows


def analyzed(readings: Readings, thresholds: Thresholds) -> Outcome:
    """Tables of size without statistics, partitioned ones among them: autovacuum analyzes partitions and never them."""
    tables = [each for each in readings.tables if not each.is_toast]
    found = [*_tables(tables, thresholds), *_parents(readings, thresholds)]
    return Outcome.of(Kind.ANALYZED, len(tables) + len(readings.parents), found)


def _tables(tables: list[Table], thresholds: Thresholds) -> Iterator[Finding]:
    for table in tables:
        rows = max(table.live_rows, table.reltuples)
        is_large = rows >= thresholds.least_rows or (rows <= 0 and (table.bytes or 0) >= _UNSEEN_BYTES)
        if not is_large or table.has_statistics or table.analyzed_at:
            continue
        many = f"{rows:,.0f} rows" if rows > 0 else amount(table.bytes or 0)
        if table.shows_statistics or table.reltuples < 0:
            yield warning(
                table.name,
                f"{table.name} has {many} and was never analyzed, so the planner guesses.",
                f"ANALYZE {table.name}",
                weight=rows,
            )
        else:
            yield unknown(
                table.name,
                f"Whether {table.name}, with {many}, was analyzed is hidden from this role.",
                f"GRANT SELECT ON {table.name} TO the role of OPS_UPKEEP_DSN",
                weight=rows,
            )


def _parents(readings: Readings, thresholds: Thresholds) -> Iterator[Finding]:
    for parent in readings.parents:
        if not parent.is_analyzed and parent.rows >= thresholds.least_rows:
            yield warning(
                parent.name,
                f"Partitioned table {parent.name}, with {parent.rows:,} rows, was never analyzed as a whole, so the "
                "planner guesses; autovacuum analyzes its partitions only.",
                f"ANALYZE {parent.name}, and again whenever its contents have changed much",
                weight=parent.rows,
            )
