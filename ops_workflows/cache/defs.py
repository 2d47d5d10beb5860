"""The application's caches as Dagster sees them: the asset, its job, the schedule."""

from collections.abc import Iterator
from datetime import timedelta

import dagster as dg
from pydantic import Field

from ops_workflows.progress import Logged
from ops_workflows.settings import Settings


class PruneConfig(dg.Config):
    """Whether to delete, and within which bounds."""

    dry_run: bool = Field(default=False, description="true: count what would go, and delete nothing.")
    most_seconds: float | None = Field(
        default=None,
        gt=0,
        le=86_400,
        description="Longest that pruning the table may take. Default: OPS_PRUNE_MOST_SECONDS.",
    )
    most_rows: int | None = Field(
        default=None, ge=1, description="Most rows that may be deleted. Default: OPS_PRUNE_MOST_ROWS."
    )


_CHECKS = {
    "pruning_came_through": "Pruning was not held up until its time was over with nothing deleted.",
    "nothing_long_expired": "No row is there that expired over a day ago.",
    "nothing_expires_too_late": "No row expires later than in OPS_PRUNE_FAR_DAYS.",
    "keys_expire": "The server of OPS_REDIS_URL was swept, and no key that has to expire would stay for ever.",
    "memory_is_left": "That server does not refuse to write, nor is it about to, for want of memory.",
}


@dg.multi_asset(
    name="calculation_cache",
    specs=[
        dg.AssetSpec(
            "calculation_cache",
            group_name="cache",
            kinds={"postgres", "redis"},
            owners=["team:database"],
            freshness_policy=dg.FreshnessPolicy.cron(
                deadline_cron="40 3 * * *", lower_bound_delta=timedelta(hours=1), timezone="UTC"
            ),
            description="Cached calculations that can still be read: expired rows and keys nobody needs are gone.",
        )
    ],
    pool="prune_cache",
    can_subset=True,  # then nothing need be said of what could not be looked at: neither the asset nor any check
    check_specs=[
        dg.AssetCheckSpec(
            name,
            asset="calculation_cache",
            description=description,
            blocking=name
            in {"pruning_came_through", "keys_expire"},  # so that the job fails where nothing could be done
        )
        for name, description in _CHECKS.items()
    ],
)
def calculation_cache(
    context: dg.AssetExecutionContext, config: PruneConfig
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """Prune the table, then sweep the server of OPS_REDIS_URL where there is one; nothing in a dry run but numbers.

    Where somebody has selected checks alone, nothing is deleted either.
    """
    from ops_workflows.cache.checks import pruning_finding, sweep_and_find, table_findings
    from ops_workflows.cache.prune import plan_prune, prune
    from ops_workflows.cache.report import plan_figures, pruned_figures, swept_figures
    from ops_workflows.cache.valkey import sweep

    bounds = {"prune_most_seconds": config.most_seconds, "prune_most_rows": config.most_rows}
    settings = Settings.read().model_copy(update={name: value for name, value in bounds.items() if value is not None})
    progress = Logged(context.log)
    only_look = config.dry_run or not context.selected_asset_keys
    if only_look:
        plan = plan_prune(settings)
        figures, found = plan_figures(plan), table_findings(plan.left, settings.prune_far_days)
    else:
        done = prune(settings, progress)
        figures, found = pruned_figures(done), table_findings(done.left, settings.prune_far_days)
        found["pruning_came_through"] = pruning_finding(done)
    context.log.info(f"The table: {figures}")
    if config.dry_run:
        if settings.redis_url is not None:
            figures |= swept_figures(sweep(settings, progress, dry_run=True))
        context.log.info(f"A dry run; nothing was deleted: {figures}")
        return
    if settings.redis_url is not None:
        # It may be away: then its checks say so, and what has become of the table is not lost.
        of_keys, of_server = sweep_and_find(settings, progress, dry_run=only_look)
        figures, found = figures | of_keys, found | of_server
    for name, finding in found.items():
        (context.log.info if finding.passed else context.log.error)(f"{name}: {finding.said}")
    if context.selected_asset_keys:
        yield dg.MaterializeResult(asset_key="calculation_cache", metadata=dict(figures))
    wanted = {key.name for key in context.selected_asset_check_keys}
    for name, finding in found.items():
        if name in wanted:
            yield dg.AssetCheckResult(
                asset_key="calculation_cache",
                check_name=name,
                passed=finding.passed,
                description=finding.said,
                metadata=dict(finding.evidence),
            )


prune_cache = dg.define_asset_job(
    "prune_cache",
    selection=dg.AssetSelection.assets(calculation_cache),
    description="Delete expired rows of the cache in small batches, pausing for everybody else; sweep Valkey's keys, "
    "and fail if nothing can be done of either.",
    executor_def=dg.in_process_executor,
    tags={"dagster/max_runtime": 2 * 3600},
)

pruning = dg.ScheduleDefinition(
    name="prune_cache_at_02_40",
    job=prune_cache,
    cron_schedule="40 2 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night at 02:40 UTC.",
)

defs = dg.Definitions(assets=[calculation_cache], jobs=[prune_cache], schedules=[pruning])
