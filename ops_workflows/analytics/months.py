"""The months of the query log: its partitions as they are, and what lies in none of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import Self

from psycopg import sql

from ops_workflows.errors import RefusedError
from ops_workflows.postgres.connection import Connection

_PARTITIONS = files(__package__).joinpath("months.sql").read_text().encode()
_LEFT = files(__package__).joinpath("months_left.sql").read_text().encode()
_HELD = files(__package__).joinpath("months_held.sql").read_text().encode()
_OUTSIDE = """
    select date_trunc('month', created_at at time zone 'UTC') at time zone 'UTC', count(*)
    from {} where created_at >= '1970-01-01Z' and created_at < '9999-01-01Z' group by 1"""
_STRAY = """
    select count(*) from {} where not (created_at >= '1970-01-01Z' and created_at < '9999-01-01Z')"""
_KIND = "select relkind = 'p' from pg_class where oid = to_regclass('public.query_log')"


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A month of UTC.

    Attributes:
        start: Its first moment.
    """

    start: datetime

    @classmethod
    def around(cls, moment: datetime) -> Self:
        """The month that a moment is in."""
        return cls(moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0))

    def later(self, months: int) -> "Month":
        """So many months later, or earlier."""
        years, month = divmod(self.start.month - 1 + months, 12)
        return Month(self.start.replace(year=self.start.year + years, month=month + 1))

    @property
    def end(self) -> datetime:
        """The first moment of the next one."""
        return self.later(1).start

    @property
    def partition(self) -> str:
        """What the application calls its partition."""
        return f"query_log_{self.start:%Y_%m}"

    def __str__(self) -> str:
        return f"{self.start:%Y-%m}"


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition that is just one month.

    Attributes:
        month: Which.
        name: In schema public.
        relation: Its oid.
        bytes: Of its files, indexes included.
        about_rows: How many rows the planner believes it has; 0 if it was never asked.
        pending: A detaching that was begun and did not end.
    """

    month: Month
    name: str
    relation: int
    bytes: int
    about_rows: int
    pending: bool = False


@dataclass(frozen=True, slots=True)
class LeftOver:
    """A month whose dropping was begun and did not end.

    Attributes:
        month: Which.
        name: Of its table, in schema public.
        relation: Its oid.
        exists: Whether that table is there.
        attached: Whether it is a partition of the log.
    """

    month: Month
    name: str
    relation: int
    exists: bool
    attached: bool


@dataclass(frozen=True, slots=True)
class LogMonths:
    """What the log consists of.

    Attributes:
        now: The server's clock.
        partitions: One for each month, in the order of time.
        others: Names of partitions that are no months, but for the default one; they are left alone.
        default: Name of the partition for all that has no other, in schema public; None without one.
        held: Why its rows cannot be moved into another, half sentences; empty if they can.
        outside: Number of rows in that one, by month.
        strays: Number of further rows in it, of no time that queries come from.
        left_over: What a run that was killed has left.
    """

    now: datetime
    partitions: tuple[Partition, ...]
    others: tuple[str, ...]
    default: str | None
    held: tuple[str, ...]
    outside: Mapping[Month, int]
    strays: int
    left_over: tuple[LeftOver, ...]


def read_months(connection: Connection) -> LogMonths:
    """Look; nothing is changed, and only the default partition is read.

    Raises:
        RefusedError: The log is not partitioned, or the schema is not there.
    """
    kind = connection.execute(_KIND).fetchone()
    tables = connection.execute("select to_regclass('ops.query_log_months'), clock_timestamp()").fetchone()
    if kind is None or tables is None or tables[0] is None:
        raise RefusedError("The query log, or the table of its months, is not there: run `ops migrate up` first.")
    if not kind[0]:
        raise RefusedError(
            "public.query_log is not partitioned, so its months can neither be made nor dropped: it would have to "
            "be partitioned by range of created_at, as migrations/000001 does."
        )
    partitions, others, default = [], [], None
    with connection.transaction():
        connection.execute("set local timezone = 'UTC'")
        connection.execute("set local datestyle = 'ISO, YMD'")
        for relation, name, pending, is_default, lower, upper, size, rows in connection.execute(_PARTITIONS):
            month = Month.around(lower) if lower is not None else None
            if month is not None and (month.start, month.end) == (lower, upper):
                partitions.append(Partition(month, name, relation, size, rows, pending))
            elif is_default:
                default = (name, relation)
            else:
                others.append(name)
        outside, stray, held = [], None, []
        if default is not None:
            table = sql.Identifier("public", default[0])
            outside = connection.execute(sql.SQL(_OUTSIDE).format(table)).fetchall()
            stray = connection.execute(sql.SQL(_STRAY).format(table)).fetchone()
            held = connection.execute(_HELD, {"relation": default[1]}).fetchall()
        left = connection.execute(_LEFT).fetchall()
    return LogMonths(
        now=tables[1],
        partitions=tuple(partitions),
        others=tuple(others),
        default=default[0] if default else None,
        held=tuple(why for (why,) in held),
        outside={Month.around(start): rows for start, rows in sorted(outside)},
        strays=stray[0] if stray else 0,
        left_over=tuple(
            LeftOver(Month.around(start), name, relation, exists, attached)
            for start, relation, name, exists, attached in left
        ),
    )
