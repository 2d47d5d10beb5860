"""Whether the statistics may be believed: counts, percentiles against the raw rows, and freshness."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.resources import files

from psycopg import sql

from ops_workflows.analytics import histogram
from ops_workflows.analytics.horizon import safe_horizon
from ops_workflows.analytics.parts import Scope, Span
from ops_workflows.analytics.period import Grain, Period
from ops_workflows.analytics.rollup import TABLES
from ops_workflows.analytics.standing import OLDEST, Standing, State, standings
from ops_workflows.postgres.connection import Connection, connect

SHARES = (0.5, 0.95, 0.99)
ALLOWED_ERROR = 0.01
ALLOWED_LAG = timedelta(hours=2)

_LONGEST_SECONDS = 3600
_TO_KNOW = {State.LATE, State.AFTERWARDS}  # what the next run mends, and what nobody can
_NAMED = 5  # periods that a sentence names
_SAMPLE = files(__package__).joinpath("sample.sql").read_text().encode()
_NEWEST = "select max(period) from ops.query_stats_periods where grain = %s and period < %s"
# A run that drops months holds its lock meanwhile; where nobody does, it was killed.
_BESIDE = """
    select m.name
    from ops.query_log_months as m
    join pg_class as c on c.oid = m.relation and not c.relispartition
    where m.dropped_at is null"""
_OUTSIDE = "select count(*) from public.query_log where created_at < %s or created_at > now() + interval '1 day'"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found.

    Attributes:
        passed: Whether all is well.
        said: In a sentence.
        evidence: Numbers, by name.
        passing: Where it did not pass: only for what came late, which the next rollup mends.
    """

    passed: bool
    said: str
    evidence: dict[str, int | float | str]
    passing: bool = False


def look(dsn: str, grain: Grain, *, scope: Scope | None = None, timeout: int = 10) -> dict[str, Finding]:
    """All checks of hours or of days, by name.

    Args:
        dsn: libpq URL of the role for upkeep.
        grain: Hours, whose source is the log; or days, whose source are the hours.
        scope: What to compare, as `roll_up_due` came by it. Default: everything.
        timeout: Seconds to connect in.

    Raises:
        RefusedError: The schema is not there, or the role sees too little.
        DatabaseError: PostgreSQL is unreachable or refuses us.
    """
    with connect(dsn, timeout=timeout, statement_seconds=_LONGEST_SECONDS) as connection:
        horizon = safe_horizon(connection)
        until = grain.floor(horizon)
        scope = scope or Scope([Span(OLDEST, until)], whole=True)
        found = [
            each
            for span in scope.in_periods(grain, until)
            for each in standings(connection, grain, span.start, span.end)
        ]
        said = {"counts_reconcile": reconcile(found, scope.unchanged), "fresh": fresh(found, horizon)}
        if grain is Grain.HOUR:
            outside = connection.execute(_OUTSIDE, [OLDEST]).fetchone()
            said["counts_reconcile"].evidence["rows_outside_time"] = outside[0] if outside else 0
            if beside := connection.execute(_BESIDE).fetchall():
                named = ", ".join(name for (name,) in beside)
                said["counts_reconcile"] = Finding(
                    False,
                    f"{named} stands beside the log, since its dropping was interrupted: run `retain_query_log`.",
                    said["counts_reconcile"].evidence,
                )
        sampled = [each.period for each in found if each.state is State.AGREES]
        said["percentiles_agree"] = _percentiles_agree(
            connection, sampled[-1] if sampled else _newest(connection, grain, until)
        )
    return said


def reconcile(found: Sequence[Standing], unchanged: Sequence[str] = ()) -> Finding:
    """Whether every period that was rolled up counts as many queries as its source has.

    Where the source has none left at all, it counts as many as it was rolled up from.

    Args:
        found: The periods that were compared.
        unchanged: Parts of the log that were left out, since they agreed and nothing was written to them afterwards.
    """
    wrong = [each for each in found if not each.reconciles]
    evidence: dict[str, int | float | str] = {
        "periods": len(found),
        "queries": sum(each.kept for each in found),
        "periods_that_differ": len(wrong),
        "periods_whose_rows_are_gone": sum(each.state is State.FEWER and not each.source for each in found),
        "unchanged_parts_left_out": len(unchanged),
    }
    if not wrong:
        left_out = f"; nothing was written to {len(unchanged):,} parts of the log since theirs did" if unchanged else ""
        return Finding(True, f"All counts agree{left_out}.", evidence)
    named = "; ".join(_differs(each) for each in wrong[:_NAMED])
    said = f"{len(wrong):,} periods differ: {named}. `rollup_query_analytics` mends what can be."
    return Finding(False, said, evidence, passing=all(each.state in _TO_KNOW for each in wrong))


def _differs(each: Standing) -> str:
    if each.state is State.AFTERWARDS:
        return f"{each.period} got {each.source:,} rows after its month had been dropped, which are in the log only"
    if each.source == each.kept:
        return f"{each.period} has other rows than its statistics were made from"
    return f"{each.period} has {each.source:,}, and {each.kept:,} in its statistics"


def fresh(found: Sequence[Standing], horizon: datetime) -> Finding:
    """Whether nothing that is over for two hours still waits to be rolled up for the first time."""
    waiting = [each.period for each in found if each.state is State.NEW]
    lag = horizon - waiting[0].end if waiting else timedelta()
    evidence: dict[str, int | float | str] = {
        "horizon": f"{horizon:%Y-%m-%d %H:%M:%S} UTC",
        "waiting": len(waiting),
        "lag_seconds": round(lag.total_seconds()),
    }
    if lag <= ALLOWED_LAG:
        return Finding(True, "Everything that is over is rolled up, or about to be.", evidence)
    return Finding(False, f"{len(waiting):,} periods wait to be rolled up, the first {waiting[0]}.", evidence)


def _newest(connection: Connection, grain: Grain, until: datetime) -> Period | None:
    row = connection.execute(_NEWEST, [grain, until]).fetchone()
    return Period.around(grain, row[0]) if row and row[0] else None


def _percentiles_agree(connection: Connection, period: Period | None) -> Finding:
    """Whether p50, p95 and p99 of the newest period are those of its raw rows."""
    if period is None:
        return Finding(True, "There is nothing to compare yet.", {})
    table = sql.Identifier("ops", TABLES[period.grain])
    stored = connection.execute(
        sql.SQL("select latency_bins, latency_counts from {} where period = %s").format(table), [period.start]
    ).fetchall()
    times = histogram.merge(stored)
    sample = connection.execute(_SAMPLE, {"shares": list(SHARES), "start": period.start, "end": period.end}).fetchone()
    timed, exact = sample or (0, None)
    if not timed or timed != times.total():  # whose counts differ, another check says
        return Finding(False, f"Of {period} there are no longer the same rows to compare with.", {}, passing=True)
    evidence: dict[str, int | float | str] = {"period": str(period), "timed": timed}
    worst = 0.0
    for share, true in zip(SHARES, exact, strict=True):
        read = histogram.percentile(times, share) or 0.0
        error = abs(read - true) / true if true else float(read != true)
        worst = max(worst, error)
        evidence |= {f"p{share * 100:.0f}_ms": round(read, 2), f"p{share * 100:.0f}_exact_ms": round(true, 2)}
    evidence["worst_error"] = round(worst, 5)
    passed = worst <= ALLOWED_ERROR + 1e-9
    return Finding(passed, f"The percentiles of {period} are off by {worst:.2%} at most.", evidence)
