"""The schema as Dagster sees it: where it stands, what speaks against it, and the job that changes a feature flag."""

from collections.abc import Iterator
from datetime import timedelta

import dagster as dg
from pydantic import Field

from ops_workflows.settings import Settings

_CHECKS = {
    "no_pending": "Every migration has been applied.",
    "not_dirty": "No migration began and did not end.",
    "no_drift": "Files, history and catalogue agree: nothing altered, skipped or gone, and no index that is not valid.",
}


@dg.asset(
    group_name="schema",
    kinds={"postgres"},
    owners=["team:database"],
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=3)),
    check_specs=[dg.AssetCheckSpec(name, asset="schema_version", description=said) for name, said in _CHECKS.items()],
    description="The version of the application's schema, and what golang-migrate's table and the history say of it.",
)
def schema_version() -> Iterator[dg.MaterializeResult[None]]:
    """Read where it stands; nothing is changed or locked."""
    from ops_workflows.schema.apply import status

    settings = Settings.read()
    found = status(settings.require("owner_dsn"), settings.migrations_dir)
    position = found.application.position
    pending = [
        f"{part.ledger} {migration.version} {migration.name}"
        for part in (found.own, found.application)
        for migration in part.pending
    ]
    dirty = [part for part in (found.own, found.application) if part.position.dirty]
    outcomes = {
        "no_pending": (not pending, "; ".join(pending) or "Nothing is pending."),
        "not_dirty": (
            not dirty,
            "; ".join(f"{part.ledger} is dirty at version {part.position.version}." for part in dirty)
            or f"Version {position.version} is whole.",
        ),
        "no_drift": (not found.drift, " ".join(found.drift) or "Files, history and catalogue agree."),
    }
    yield dg.MaterializeResult(
        metadata={"version": position.version, "dirty": position.dirty, "pending": len(pending)},
        check_results=[
            dg.AssetCheckResult(check_name=name, passed=passed, description=said)
            for name, (passed, said) in outcomes.items()
        ],
    )


observe_schema = dg.define_asset_job(
    "observe_schema",
    selection=dg.AssetSelection.assets(schema_version),
    description="Look where the schema stands: version, pending migrations, drift. Nothing is changed.",
    executor_def=dg.in_process_executor,
    tags={"dagster/max_runtime": 600},
)

hourly_look = dg.ScheduleDefinition(
    name="observe_schema_at_20_past",
    job=observe_schema,
    cron_schedule="20 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="At twenty past each hour.",
)


class FlagConfig(dg.Config):
    """Which flag, and what is to be another; what is left out stays."""

    name: str = Field(description="Of the flag, as `ops flags list` has it.")
    enabled: bool | None = Field(default=None, description="On or off.")
    rollout_percentage: int | None = Field(default=None, ge=0, le=100, description="For how many of a hundred users.")
    conditions: str | None = Field(default=None, description="All further conditions, a JSON object; {} for none.")


@dg.op(description="Change a feature flag of the application in one transaction with a row in its audit log.")
def change_feature_flag(context: dg.OpExecutionContext, config: FlagConfig) -> None:
    """The same code as `ops flags set`."""
    from ops_workflows.schema.flags import Change, parse_conditions, set_flag

    settings = Settings.read()
    conditions = None if config.conditions is None else parse_conditions(config.conditions)
    change = Change(config.enabled, config.rollout_percentage, conditions)
    dsn, timeout = settings.require("upkeep_dsn"), settings.connect_timeout_seconds
    before, after = set_flag(dsn, config.name, change, timeout=timeout)
    context.log.info(f"It was {before}, and is {after}." if before != after else f"{config.name} is so already.")


@dg.job(
    executor_def=dg.in_process_executor,
    description="Switch a feature flag of the application, or change its rollout or its conditions.",
    tags={"dagster/max_runtime": 300},
)
def set_feature_flag() -> None:
    """The job of one op."""
    change_feature_flag()


defs = dg.Definitions(assets=[schema_version], jobs=[observe_schema, set_feature_flag], schedules=[hourly_look])
