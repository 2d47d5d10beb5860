"""Query analytics as Dagster sees them: statistics by hour and by day, their checks, and the job that keeps them."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from ops_workflows.progress import Logged
from ops_workflows.settings import Settings

if TYPE_CHECKING:
    from ops_workflows.analytics.checks import Finding
    from ops_workflows.analytics.months_plan import MonthsPlan
    from ops_workflows.analytics.parts import Scope
    from ops_workflows.analytics.period import Grain
    from ops_workflows.analytics.rollup import RolledUp

_SINCE = datetime.combine(Settings.read().analytics_since, datetime.min.time(), UTC)  # while Dagster loads this
_HOURS = dg.HourlyPartitionsDefinition(start_date=_SINCE, timezone="UTC")
_DAYS = dg.DailyPartitionsDefinition(start_date=_SINCE, timezone="UTC")
_MOST_PERIODS = 10_000  # of a backfill's run: more than a year of hours
_CHECKS = {
    "counts_reconcile": "Every period counts as many queries as there are rows that it was made from. Late rows, "
    "which the next rollup counts, are a warning.",
    "percentiles_agree": "p50, p95 and p99 of the newest period are within 1 % of percentile_cont of its raw rows.",
    "fresh": "Nothing that was over two hours ago waits to be rolled up.",
}


def _statistics(
    partitions: dg.TimeWindowPartitionsDefinition,
    *,
    stale_hours: int,
    description: str,
    deps: Sequence[dg.AssetsDefinition] = (),
) -> Callable[[Callable[..., dg.MaterializeResult[None]]], dg.AssetsDefinition]:
    """An asset of this group, of which a backfill is one run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # of the backfill policy
        return dg.asset(
            group_name="analytics",
            kinds={"postgres"},
            owners=["team:database"],
            partitions_def=partitions,
            backfill_policy=dg.BackfillPolicy.single_run(),
            freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=stale_hours)),
            description=description,
            deps=deps,
        )


class RollUpConfig(dg.Config):
    """What may be lost."""

    replace: bool = Field(
        default=False,
        description="Roll up also where fewer rows are left than were rolled up before; those are forgotten then.",
    )


class DueConfig(dg.Config):
    """How much to do at once."""

    most: int = Field(
        default=5000, ge=1, description="Most periods of one run, oldest first; the rest is left to the next."
    )
    whole: bool = Field(
        default=False,
        description="Count the whole log now. Once a day that is done anyhow; otherwise months are left out that "
        "nothing was written to since they agreed with their statistics.",
    )


def _roll_up(context: dg.AssetExecutionContext, grain: "Grain", config: RollUpConfig) -> dg.MaterializeResult[None]:
    from ops_workflows.analytics.period import Period
    from ops_workflows.analytics.rollup import roll_up

    keys = context.partition_keys
    if len(keys) > _MOST_PERIODS:
        raise dg.Failure(
            f"{len(keys):,} periods are too many for one run: backfill {_MOST_PERIODS:,} at a time, or let "
            "rollup_query_analytics find what is due."
        )
    settings, form = Settings.read(), _partitions(grain).fmt
    periods = [Period(grain, datetime.strptime(key, form).replace(tzinfo=UTC)) for key in keys]
    dsn, timeout = settings.require("upkeep_dsn"), settings.connect_timeout_seconds
    return dg.MaterializeResult(metadata=_figures(*roll_up(dsn, *periods, replace=config.replace, timeout=timeout)))


def _partitions(grain: "Grain") -> dg.TimeWindowPartitionsDefinition:
    return _HOURS if grain == "hour" else _DAYS


def _figures(*done: "RolledUp") -> dict[str, int | float]:
    rows, seconds = sum(each.rows for each in done), sum(each.seconds for each in done)
    return {
        "periods": len(done),
        "dagster/row_count": rows,
        "late_rows": sum(each.rows - each.before for each in done if each.before is not None),
        "seconds": round(seconds, 3),
    }


@_statistics(
    _HOURS,
    stale_hours=3,
    description="The query log of each hour (UTC) as counts, latency bins and a sketch of its users, by query type, "
    "calculation system, cache hit, region and kind of user.",
)
def query_stats_hourly(context: dg.AssetExecutionContext, config: RollUpConfig) -> dg.MaterializeResult[None]:
    """Roll up hours from the log, whether or not they were before."""
    from ops_workflows.analytics.period import Grain

    return _roll_up(context, Grain.HOUR, config)


@_statistics(
    _DAYS,
    stale_hours=27,
    deps=(query_stats_hourly,),
    description="The statistics of each day (UTC), merged from those of its hours.",
)
def query_stats_daily(context: dg.AssetExecutionContext, config: RollUpConfig) -> dg.MaterializeResult[None]:
    """Merge days from their hours, which have to be there."""
    from ops_workflows.analytics.period import Grain

    return _roll_up(context, Grain.DAY, config)


def _look(scope: "Scope | None" = None) -> "Iterator[tuple[dg.AssetKey, str, Finding]]":
    from ops_workflows.analytics.checks import look
    from ops_workflows.analytics.period import Grain

    settings = Settings.read()
    dsn, timeout = settings.require("upkeep_dsn"), settings.connect_timeout_seconds
    for grain, asset in ((Grain.HOUR, query_stats_hourly), (Grain.DAY, query_stats_daily)):
        for name, finding in look(dsn, grain, scope=scope, timeout=timeout).items():
            yield asset.key, name, finding


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec(name, asset=asset, description=said)
        for asset in (query_stats_hourly, query_stats_daily)
        for name, said in _CHECKS.items()
    ],
)
def query_stats_checks() -> Iterator[dg.AssetCheckResult]:
    """Compare the statistics with the log; nothing is changed."""
    for key, name, found in _look():
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name=name,
            passed=found.passed,
            severity=_severity(found),
            description=found.said,
            metadata=found.evidence,
        )


def _severity(found: "Finding") -> dg.AssetCheckSeverity:
    return dg.AssetCheckSeverity.WARN if found.passing else dg.AssetCheckSeverity.ERROR


@dg.op(
    pool="query_analytics",
    description="Roll up every hour and day that is over and was not yet, or has other rows by now; then check.",
)
def roll_up_what_is_due(context: dg.OpExecutionContext, config: DueConfig) -> None:
    """One run for whatever is due, late rows of any age among it: each period is told of as a partition."""
    from ops_workflows.analytics.period import Grain
    from ops_workflows.analytics.rollup import roll_up_due

    settings = Settings.read()
    dsn, timeout = settings.require("upkeep_dsn"), settings.connect_timeout_seconds
    due = roll_up_due(dsn, whole=config.whole, most=config.most, progress=Logged(context.log), timeout=timeout)
    assets = {Grain.HOUR: query_stats_hourly, Grain.DAY: query_stats_daily}
    for done in due.done:
        grain, start = done.period.grain, done.period.start
        if start < _SINCE:
            context.log.warning(f"{done.period} is rolled up, but is older than OPS_ANALYTICS_SINCE: no partition.")
            continue
        key = start.strftime(_partitions(grain).fmt)
        context.log_event(dg.AssetMaterialization(assets[grain].key, metadata=_figures(done), partition=key))
    for asset, name, found in _look(due.scope):
        context.instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=asset,
                check_name=name,
                passed=found.passed,
                severity=_severity(found),
                description=found.said,
                metadata=found.evidence,
            )
        )
        unlike = context.log.warning if found.passing else context.log.error
        (context.log.info if found.passed else unlike)(f"{name}: {found.said}")
    context.add_output_metadata(
        {
            **_figures(*due.done),
            "left": due.left,
            "horizon": f"{due.horizon:%F %T} UTC",
            "counted": "the whole log" if due.scope.whole else "what was written to",
            "unchanged_parts_left_out": len(due.scope.unchanged),
        }
    )


@dg.job(
    executor_def=dg.in_process_executor,
    description="Roll up the query log: what is over, and what late rows have changed. Then compare counts and "
    "percentiles with the log.",
    tags={"dagster/max_runtime": 3300},
)
def rollup_query_analytics() -> None:
    """The job of one op."""
    roll_up_what_is_due()


hourly_rollup = dg.ScheduleDefinition(
    name="rollup_query_analytics_at_5_past",
    job=rollup_query_analytics,
    cron_schedule="5 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="At five past each hour (UTC).",
)


class MonthsConfig(dg.Config):
    """Whether to drop, and how."""

    apply: bool = Field(default=True, description="false: log the plan; make and drop nothing.")
    export: bool | None = Field(
        default=None,
        description="Whether each month goes into the bucket as Parquet before it is dropped. Default: "
        "OPS_QUERY_LOG_EXPORT.",
    )
    most: int = Field(default=12, ge=1, description="Most months to drop at once, the oldest first.")


@dg.asset(
    group_name="analytics",
    kinds={"postgres"},
    owners=["team:database"],
    pool="query_analytics",
    output_required=False,
    freshness_policy=dg.FreshnessPolicy.cron(
        deadline_cron="10 7 * * *", lower_bound_delta=timedelta(hours=1), timezone="UTC"
    ),
    check_specs=[
        dg.AssetCheckSpec(name, asset="query_log", description=said)
        for name, said in (
            ("months_ahead", "This month and OPS_QUERY_LOG_MONTHS_AHEAD after it have partitions."),
            ("none_waits", "No month that is older than OPS_QUERY_LOG_KEEP_MONTHS had to stay."),
        )
    ],
    description="The raw query log by months: made ahead of time; dropped when they are older than "
    "OPS_QUERY_LOG_KEEP_MONTHS, their statistics agree, and a proved backup holds them.",
)
def query_log(
    context: dg.AssetExecutionContext, config: MonthsConfig
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """The same code as `ops query-log`; with nothing applied, the checks alone say what they see."""
    from ops_workflows.analytics.months_keep import keep_months, plan_months

    settings = Settings.read()

    def show(plan: "MonthsPlan") -> None:
        for each in plan.decisions:
            context.log.info(f"{each.partition.month}: {each.verdict}; {'; '.join(each.reasons)}")
        for note in plan.notes:
            context.log.warning(note)

    if not config.apply:
        plan = plan_months(settings, most=config.most)
        show(plan)
        yield from _month_checks(plan)
        return
    parquet = settings.query_log_export if config.export is None else config.export
    done = keep_months(settings, Logged(context.log), show, parquet=parquet, most=config.most)
    freed = sum(each.bytes for each in done.dropped)
    yield dg.MaterializeResult(
        metadata={
            "months": len(done.plan.decisions) - len(done.dropped),
            "months_made": len(done.made),
            "months_dropped": len(done.dropped),
            "months_waiting": len(done.plan.waiting),
            "rows_dropped": sum(each.rows for each in done.dropped),
            "freed_bytes": freed,
            "bytes": sum(each.partition.bytes for each in done.plan.decisions) - freed,
            "notes": "\n".join(done.plan.notes) or "none",
        },
        check_results=list(_month_checks(done.plan)),
    )


def _month_checks(plan: "MonthsPlan") -> Iterator[dg.AssetCheckResult]:
    lacking = ", ".join(map(str, plan.to_make))
    waiting = " ".join(f"{each.partition.month}: {'; '.join(each.reasons)}." for each in plan.waiting)
    yield dg.AssetCheckResult(
        asset_key=query_log.key,
        check_name="months_ahead",
        passed=not lacking,
        description=f"Without partitions: {lacking}." if lacking else "All are there.",
    )
    yield dg.AssetCheckResult(
        asset_key=query_log.key,
        check_name="none_waits",
        passed=not waiting,
        severity=dg.AssetCheckSeverity.WARN,
        description=waiting or "Nothing older than the limit is left.",
    )


retain_query_log = dg.define_asset_job(
    "retain_query_log",
    selection=dg.AssetSelection.assets(query_log),
    description="Make months of the query log ahead of time; drop old ones that are in the statistics and in a proved "
    "backup, after an export where that is wanted.",
    executor_def=dg.in_process_executor,
    tags={"dagster/max_runtime": 2 * 3600},
)

log_retention = dg.ScheduleDefinition(
    name="retain_query_log_at_06_10",
    job=retain_query_log,
    cron_schedule="10 6 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every day at 06:10 UTC, when the night's backup has been proved.",
)

defs = dg.Definitions(
    assets=[query_stats_hourly, query_stats_daily, query_log],
    asset_checks=[query_stats_checks],
    jobs=[rollup_query_analytics, retain_query_log],
    schedules=[hourly_rollup, log_retention],
)
