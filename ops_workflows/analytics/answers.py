"""Questions about the application's queries, answered from their statistics alone."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from importlib.resources import files
from typing import Any

from psycopg import sql

from ops_workflows.analytics import distinct, histogram
from ops_workflows.analytics.horizon import expect_tables
from ops_workflows.errors import ConfigurationError
from ops_workflows.postgres.connection import connect

_MERGED = files(__package__).joinpath("merged.sql").read_text()


class Question(StrEnum):
    """What can be asked, by the name that it has at a terminal."""

    TOP = "top"
    LATENCY = "latency"
    CACHE_HIT = "cache-hit"
    GROWTH = "growth"


class By(StrEnum):
    """What the answers are apart by."""

    DAY = "day"
    QUERY_TYPE = "query_type"
    CALCULATION_SYSTEM = "calculation_system"
    CACHE_HIT = "cache_hit"
    REGION = "region"
    USER_KIND = "user_kind"


@dataclass(frozen=True, slots=True)
class Answer:
    """One day, query type, region, or whatever was asked by.

    Attributes:
        key: Which.
        queries: How many there were.
        hit_rate: Share of them that the cache answered, 0 to 1.
        users: Distinct known users, within 1.6 % two times out of three.
        p50_ms: Half of the queries were answered within so many milliseconds; within 1 %. None, if none was timed.
        p95_ms: Likewise 95 %.
        p99_ms: Likewise 99 %.
    """

    key: str
    queries: int
    hit_rate: float
    users: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


def ask(dsn: str, by: By, first: date, last: date, *, timeout: int = 10) -> list[Answer]:
    """What was asked of the application, and how it answered.

    Args:
        dsn: libpq URL of the role for upkeep.
        by: What to tell apart.
        first: The first day (UTC).
        last: The last day, which is in it.
        timeout: Seconds to connect in.

    Returns:
        In the order of their keys.

    Raises:
        ConfigurationError: The last day is before the first.
        RefusedError: The schema is not there.
        DatabaseError: PostgreSQL is unreachable or refuses us.
    """
    if last < first:
        raise ConfigurationError(f"{last} is before {first}: name the earlier day first.")
    key = sql.SQL("(period at time zone 'UTC')::date") if by is By.DAY else sql.Identifier(by.value)
    bounds = {"first": _midnight(first), "end": _midnight(last) + timedelta(days=1)}
    with connect(dsn, timeout=timeout) as connection:
        expect_tables(connection)
        found = connection.execute(sql.SQL(_MERGED).format(by=key), bounds).fetchall()
    return [_answer(row) for row in found]


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _answer(row: tuple[Any, ...]) -> Answer:
    key, queries, hits, bins, counts, users = row
    times = histogram.merge([(bins, counts)])
    p50, p95, p99 = (histogram.percentile(times, share) for share in (0.5, 0.95, 0.99))
    return Answer(key, queries, hits / queries, round(distinct.estimate(users)), p50, p95, p99)
