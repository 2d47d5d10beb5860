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
        default=None, gt=0, description="Longest that pruning the table may take. Default: OPS_PRUNE_MOST_SECONDS."
    )
    most_rows: int | None = Field(
        default=None, ge=1, description="Most rows that may be deleted. Default: OPS_PRUNE_MOST_ROWS."
    )


@dg.asset(
    group_name="cache",
    kinds={"postgres", "redis"},
    owners=["team:database"],
    pool="prune_cache",
    output_required=False,
    freshness_policy=dg.FreshnessPolicy.cron(
        deadline_cron="40 3 * * *", lower_bound_delta=timedelta(hours=1), timezone="UTC"
    ),
    description="Cached calculations that can still be read: expired rows and keys nobody needs are gone.",
)
def calculation_cache(context: dg.AssetExecutionContext, config: PruneConfig) -> Iterator[dg.MaterializeResult[None]]:
    """Prune the table, then sweep the server of OPS_REDIS_URL where there is one; nothing in a dry run but numbers."""
    from ops_workflows.cache.prune import plan_prune, prune
    from ops_workflows.cache.report import plan_figures, pruned_figures, swept_figures
    from ops_workflows.cache.valkey import sweep

    bounds = {"prune_most_seconds": config.most_seconds, "prune_most_rows": config.most_rows}
    settings = Settings.read().model_copy(update={name: value for name, value in bounds.items() if value is not None})
    progress = Logged(context.log)
    figures = plan_figures(plan_prune(settings)) if config.dry_run else pruned_figures(prune(settings, progress))
    # Said now, for the other server may be away, and this is done nevertheless.
    context.log.info(f"The table: {figures}")
    if settings.redis_url is not None:
        figures |= swept_figures(sweep(settings, progress, dry_run=config.dry_run))
    if config.dry_run:
        context.log.info(f"A dry run; nothing was deleted: {figures}")
        return
    yield dg.MaterializeResult(metadata=dict(figures))


prune_cache = dg.define_asset_job(
    "prune_cache",
    selection=dg.AssetSelection.assets(calculation_cache),
    description="Delete expired rows of the cache in small batches, pausing for everybody else; sweep Valkey's keys.",
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
