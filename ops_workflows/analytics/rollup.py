"""Rolling up the query log: each period in one transaction of its own, as often as one likes, with the same result."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files

from psycopg import sql

from ops_workflows.analytics.horizon import safe_horizon
from ops_workflows.analytics.parts import Scope, forget_marks, marks_after, read_marks, read_parts, write_marks
from ops_workflows.analytics.parts import scope as scope_of
from ops_workflows.analytics.period import Grain, Period
from ops_workflows.analytics.standing import OLDEST, Standing, State, standings
from ops_workflows.errors import ConfigurationError, RefusedError
from ops_workflows.postgres.connection import Connection, connect
from ops_workflows.progress import SILENT, Progress

TABLES = {Grain.HOUR: "query_stats_hourly", Grain.DAY: "query_stats_daily"}
MOST_PERIODS = 50_000
"""That are rolled up at once: the hours of more than five years."""

_ROLL_UP = {grain: files(__package__).joinpath(f"{grain}.sql").read_text().encode() for grain in Grain}
_LONGEST_SECONDS = 3600
_ENOUGH_MEMORY = "set local work_mem = '64MB'"  # to group a million rows without sorting them on disk
_LOCK = "select pg_advisory_xact_lock(hashtextextended('ops.query_stats of ' || %s, 0))"
_BEFORE = "select raw_rows from ops.query_stats_periods where grain = %s and period = %s"
_DROPPED = """
    select exists (
        select from ops.query_log_months
        where dropped_at is not null and %s >= month
            and %s < (month at time zone 'UTC' + interval '1 month') at time zone 'UTC'
    )"""
_FORGET = "delete from ops.query_stats_periods where grain = %s and period = %s"
_REMEMBER = """
    insert into ops.query_stats_periods (grain, period, raw_rows, rolled_up_at)
    values (%s, %s, %s, clock_timestamp())"""


@dataclass(frozen=True, slots=True)
class RolledUp:
    """What was done.

    Attributes:
        period: Of which hour or day.
        rows: Rows of the log that are in its statistics now.
        before: How many were before; None, if it had none.
        seconds: How long it took.
    """

    period: Period
    rows: int
    before: int | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Due:
    """What came of rolling up all that was due.

    Attributes:
        done: Each period that was rolled up, hours first.
        left: How many more are due, for another time.
        horizon: Up to when the log was settled.
        scope: What of the log was looked at.
    """

    done: Sequence[RolledUp]
    left: int
    horizon: datetime
    scope: Scope


def roll_up(dsn: str, *periods: Period, replace: bool = False, timeout: int = 10) -> list[RolledUp]:
    """Roll up certain periods, whether or not they were before.

    Args:
        dsn: libpq URL of the role for upkeep.
        periods: Which. Of a day, the hours have to be rolled up already: it is merged from them.
        replace: Also where fewer rows are left than were rolled up before, which then are forgotten.
        timeout: Seconds to connect in.

    Returns:
        What was done, in the order of the periods.

    Raises:
        ConfigurationError: There are too many of them.
        RefusedError: A period is not over, or has rows that may still come; a day has hours that are due; or statistics
            would be lost.
        DatabaseError: PostgreSQL is unreachable or refuses us.
    """
    if len(periods) > MOST_PERIODS:
        raise ConfigurationError(f"{len(periods):,} periods are too many at once: take {MOST_PERIODS:,} at most.")
    with connect(dsn, timeout=timeout, statement_seconds=_LONGEST_SECONDS) as connection:
        horizon = safe_horizon(connection)
        for period in periods:
            _expect_settled(period, horizon)
            if period.grain is Grain.DAY:
                _expect_hours(connection, period)
        return [_roll_up(connection, period, replace=replace, by_hand=True) for period in periods]


def roll_up_due(
    dsn: str,
    *,
    whole: bool = True,
    most: int = MOST_PERIODS,
    progress: Progress = SILENT,
    timeout: int = 10,
) -> Due:
    """Roll up every hour and day that is over and was not yet, or has other rows by now; the oldest first.

    Args:
        dsn: libpq URL of the role for upkeep.
        whole: Count the whole log. Otherwise parts of it are left out, with their statistics, that nothing was written
            to since these agreed with them; but not once a day.
        most: So many periods at most; the rest is left for another time.
        progress: Hears how far it has come.
        timeout: Seconds to connect in.

    Raises:
        RefusedError: The schema is not there, or the role sees too little.
        DatabaseError: PostgreSQL is unreachable or refuses us.
    """
    done: list[RolledUp] = []
    wrong: list[Period] = []
    left = 0
    with connect(dsn, timeout=timeout, statement_seconds=_LONGEST_SECONDS) as connection:
        horizon = safe_horizon(connection)
        parts = read_parts(connection)
        marks = {} if whole else read_marks(connection)
        settled = Grain.HOUR.floor(horizon)
        scope = scope_of(parts, marks, settled)
        for grain in Grain:
            found = _standings(connection, grain, scope, horizon)
            due = [each.period for each in found if each.state.is_due]
            wrong += [each.period for each in found if not each.reconciles and not each.state.is_due]
            room = 0 if left else most - len(done)  # a day merged without all of its hours would only be merged again
            wrong += due[room:]
            left += len(due[room:])
            due = due[:room]
            progress.begin(f"Rolling up {len(due):,} {grain}s", len(due), f"{grain}s")
            for number, period in enumerate(due, 1):
                done.append(_roll_up(connection, period))
                progress.advance(number)
        write_marks(connection, marks_after(parts, marks, settled, wrong), whole=scope.whole)
    return Due(done, left, horizon, scope)


def _standings(connection: Connection, grain: Grain, scope: Scope, horizon: datetime) -> list[Standing]:
    spans = scope.in_periods(grain, grain.floor(horizon))
    return [each for span in spans for each in standings(connection, grain, span.start, span.end)]


def _expect_settled(period: Period, horizon: datetime) -> None:
    if period.end > horizon:
        raise RefusedError(
            f"Rows may still come for {period}, since the log is settled up to {horizon:%Y-%m-%d %H:%M:%S} UTC only: "
            "wait until it is over, and end transactions that have been open since (pg_stat_activity)."
        )
    if period.start < OLDEST:
        raise RefusedError(f"{period} is before {OLDEST:%Y}, and nothing is rolled up from there: take a later one.")


def _expect_hours(connection: Connection, day: Period) -> None:
    due = [each for each in standings(connection, Grain.HOUR, day.start, day.end) if each.state.is_due]
    if due:
        raise RefusedError(
            f"{len(due)} hours of {day} are not rolled up as the log has them now, the first {due[0].period}: "
            "roll those up first."
        )


def _roll_up(connection: Connection, period: Period, *, replace: bool = False, by_hand: bool = False) -> RolledUp:
    began = time.monotonic()
    key = (period.grain, period.start)
    table = sql.Identifier("ops", TABLES[period.grain])
    with connection.transaction():
        connection.execute(_ENOUGH_MEMORY)
        # Two at once would each delete what it sees, and insert twice; and a day is not merged while an hour of it is
        # being made again.
        connection.execute(_LOCK, [str(Grain.DAY.floor(period.start))])
        found = connection.execute(_BEFORE, key).fetchone()
        before = found[0] if found else None
        connection.execute(sql.SQL("delete from {} where period = %s").format(table), [period.start])
        made = connection.execute(_ROLL_UP[period.grain], {"start": period.start, "end": period.end}).fetchone()
        rows = made[0] if made else 0
        if rows < (before or 0) and not replace:
            raise RefusedError(
                f"{period} was rolled up from {before:,} rows, of which {rows:,} are left: its statistics are kept, "
                "since they could not be made again."
            )
        if rows and not replace and period.grain is Grain.HOUR and _is_dropped(connection, period):
            raise RefusedError(
                f"{period} is of a month that was dropped from the log: its statistics are of rows that are gone, and "
                f"stay. The {rows:,} rows that came afterwards are in the log only."
            )
        connection.execute(_FORGET, key)
        if rows:
            connection.execute(_REMEMBER, [*key, rows])
        if by_hand:
            forget_marks(connection)  # the day of this hour has to be made again, and its log did not change
    return RolledUp(period, rows, before, time.monotonic() - began)


def _is_dropped(connection: Connection, period: Period) -> bool:
    row = connection.execute(_DROPPED, [period.start, period.start]).fetchone()
    return bool(row and row[0])


def make_again(connection: Connection, start: datetime, end: datetime) -> int:
    """Make the statistics of whole days anew from the log, hours and days, so that they are what its rows come to now.

    Args:
        connection: Of a role that may write them.
        start: The first day's beginning.
        end: The last day's end.

    Returns:
        How many rows of the log are in them.
    """
    made = {
        grain: [_roll_up(connection, each.period) for each in standings(connection, grain, start, end)]
        for grain in Grain
    }
    return sum(each.rows for each in made[Grain.HOUR])


def states(dsn: str, grain: Grain, *, since: datetime = OLDEST, timeout: int = 10) -> dict[State, list[Period]]:
    """All periods up to the safe horizon, by what is to be said of them.

    Args:
        dsn: libpq URL of the role for upkeep.
        grain: Hours or days.
        since: From this day on.
        timeout: Seconds to connect in.

    Raises:
        RefusedError: The schema is not there, or the role sees too little.
        DatabaseError: PostgreSQL is unreachable or refuses us.
    """
    with connect(dsn, timeout=timeout, statement_seconds=_LONGEST_SECONDS) as connection:
        found = standings(connection, grain, Grain.DAY.floor(since), grain.floor(safe_horizon(connection)))
    said: dict[State, list[Period]] = {state: [] for state in State}
    for each in found:
        said[each.state].append(each.period)
    return said
