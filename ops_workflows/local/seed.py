"""Filling the application's tables with a generated workload, through COPY, all of it or nothing."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import batched

from psycopg import sql

from ops_workflows.errors import ConfigurationError, RefusedError
from ops_workflows.local.seed_calendar import DAYS
from ops_workflows.local.seed_rows import COLUMNS, Workload
from ops_workflows.postgres.connection import Connection, connect

_LINES_AT_ONCE = 6000  # about one megabyte of query_log
_LONGEST_SECONDS = 6 * 3600
_YEARS = range(1970, 3000)

type Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class SeedReport:
    """What was loaded, and how fast."""

    seed: int
    base: datetime
    rows: dict[str, int]
    """Rows loaded into each table."""
    seconds: float
    query_log_rows_per_second: float


def seed(
    dsn: str, *, rows: int, seed: int, progress: Progress | None = None, base: datetime | None = None
) -> SeedReport:
    """Load `rows` queries of the sixty days before `base`, with the users, calculations and the rest around them.

    Equal `seed`, `rows` and `base` give equal rows; another seed adds rows to those that are there. Everything is one
    transaction, so that an interrupted run leaves nothing behind.

    Args:
        dsn: libpq URL of the role that owns the tables.
        rows: How many queries; the other tables follow from it.
        seed: Which workload.
        progress: Hears how many rows, of all tables, have been sent, and how many there will be.
        base: Where the sixty days end. Default: the beginning of this hour.

    Raises:
        ConfigurationError: `rows` is not positive, or `base` has no time zone or lies ages away.
        RefusedError: The tables are not there, or this seed was loaded before.
        DatabaseError: PostgreSQL is unreachable or refuses the rows.
    """
    base = base or datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    if rows < 1:
        raise ConfigurationError(f"Cannot load {rows} rows: ask for at least one.")
    if base.tzinfo is None:
        raise ConfigurationError(f"The base {base} has no time zone: give one, such as UTC.")
    if base.year not in _YEARS:
        raise ConfigurationError(f"The base {base} is not between {_YEARS[0]} and {_YEARS[-1]}: take one that is.")
    workload = Workload(seed, rows, base.astimezone(UTC))
    began = time.monotonic()
    with connect(dsn, statement_seconds=_LONGEST_SECONDS, application_name="ops seed") as connection:
        connection.execute("set lock_timeout = '10s'")
        _expect_tables(connection)
        _expect_new(connection, workload)
        # By itself, since a new partition locks the parent, and queries of others must not wait until we have finished.
        connection.execute("select create_query_log_months(%s, %s)", (base - timedelta(days=DAYS), base))
        with connection.transaction():
            query_log_seconds = _load(connection, workload, progress)
        connection.execute(sql.SQL("analyze {}").format(sql.SQL(", ").join(map(sql.Identifier, COLUMNS))))
    return SeedReport(seed, base, workload.counts, time.monotonic() - began, rows / query_log_seconds)


def _expect_tables(connection: Connection) -> None:
    row = connection.execute(
        "select name from unnest(%s::text[]) as name where to_regclass(name) is null limit 1", (list(COLUMNS),)
    ).fetchone()
    if row:
        raise RefusedError(f"There is no table {row[0]} to fill: run `ops migrate up` first.")


def _expect_new(connection: Connection, workload: Workload) -> None:
    if connection.execute("select from users where id = %s", (workload.user_ids[0],)).fetchone() is not None:
        raise RefusedError(f"Seed {workload.seed} was loaded already: choose another --seed to add more rows.")


def _load(connection: Connection, workload: Workload, progress: Progress | None) -> float:
    """Fill table after table; returns the seconds that query_log, the largest and the last, took."""
    done, total = 0, sum(workload.counts.values())
    took = 0.0
    for table, columns in COLUMNS.items():
        began = time.monotonic()
        with connection.cursor() as cursor, cursor.copy(f"copy {table} ({columns}) from stdin") as copy:
            for lines in batched(workload.lines(table), _LINES_AT_ONCE):
                copy.write("".join(lines))
                done += len(lines)
                if progress:
                    progress(done, total)
        took = time.monotonic() - began
    return took
