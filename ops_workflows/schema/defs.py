"""The schema as Dagster sees it: where it stands, what speaks against it, the jobs of the gate, and feature flags."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from ops_workflows.progress import Logged
from ops_workflows.settings import Settings
from ops_workflows.wording import as_markdown

if TYPE_CHECKING:
    from ops_workflows.repository.rehearsals import RehearsalRecord
    from ops_workflows.schema.gate_record import GateStep
    from ops_workflows.schema.plan import Aim

_CHECKS = {
    "no_pending": "Every migration has been applied.",
    "not_dirty": "No migration began and did not end.",
    "no_drift": "Files, history and catalogue agree: no file altered, skipped or gone, no index that is not valid, and "
    "every object is what the files make of an empty database.",
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
    from ops_workflows.errors import OpsError
    from ops_workflows.schema.apply import status
    from ops_workflows.schema.reference import catalogue_drift

    settings = Settings.read()
    owner = settings.require("owner_dsn")
    found, unknown = status(owner, settings.migrations_dir), ""
    drift = list(found.drift)
    try:
        drift += catalogue_drift(settings, owner, settings.migrations_dir)
    except OpsError as error:
        unknown = str(error)
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
        "no_drift": (not drift and not unknown, " ".join([*drift, unknown]).strip() or "All three agree."),
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


class RehearsalConfig(dg.Config):
    """How much of what is pending."""

    limit: int | None = Field(default=None, ge=1, description="At most so many files. Default: all that are pending.")


class MigrateConfig(RehearsalConfig):
    """How much of what is pending, and what a person says to it."""

    approve: str = Field(
        default="",
        description="If the plan destroys something: its digest, as `ops migrate plan`, a rehearsal, or the failure of "
        "this job names it. An approval of another plan counts for nothing.",
    )
    ungated: str = Field(
        default="", description="A reason to leave out lint, backup and rehearsal. Default: nothing is left out."
    )


class RollbackConfig(dg.Config):
    """How far back, and what a person says to it."""

    steps: int = Field(default=1, ge=1, description="How many of the application's newest migrations to take back.")
    approve: str = Field(default="", description="The plan's digest; a way back nearly always destroys something.")
    ungated: str = Field(default="", description="A reason to leave out backup and rehearsal, when there is no time.")


@dg.op(
    pool="restore_drill",  # they need the same room and the same two cores
    description="Apply what is pending to a copy of the database, made from the newest proved backup, under traffic.",
)
def rehearse_pending(context: dg.OpExecutionContext, config: RehearsalConfig) -> None:
    """The same code as `ops migrate rehearse`; fails where the migration should not be applied."""
    from ops_workflows.schema.apply import intend
    from ops_workflows.schema.plan import upward
    from ops_workflows.schema.rehearse import rehearse

    settings, aim = Settings.read(), upward(config.limit)
    if not intend(settings.require("owner_dsn"), settings.migrations_dir, aim).files:
        context.log.info("Nothing is pending: there is nothing to rehearse.")
        return
    done = rehearse(settings, aim, Logged(context.log))
    context.add_output_metadata(
        {
            "rehearsal_id": done.id,
            "plan": done.plan,
            "backup_id": done.backup_id,
            "checks": dg.MetadataValue.md(as_markdown(("check", "passed", "finding"), _checks(done))),
            "statements": dg.MetadataValue.md(
                as_markdown(("file", "line", "seconds", "rows", "keeps others out", "who waited"), _statements(done))
            ),
        }
    )
    for check in done.checks:
        (context.log.error if check.passed is False else context.log.info)(f"{check.name}: {check.finding}")
    if not done.passed:
        raise dg.Failure(f"Rehearsal {done.id} failed. {' '.join(done.failures)}")


def _checks(done: "RehearsalRecord") -> Iterator[tuple[str, str, str]]:
    said = {True: "yes", False: "NO", None: "not run"}
    return ((check.name, said[check.passed], check.finding) for check in done.checks)


def _statements(done: "RehearsalRecord") -> Iterator[tuple[str, ...]]:
    for file in done.files:
        for each in file.statements:
            lock = each.keeps_out
            yield (
                file.file,
                str(each.line),
                f"{each.seconds:.3f}",
                f"{each.rows:,}",
                f"{lock.mode} on {lock.table}, {lock.seconds:.2f} s" if lock else "",
                "; ".join(f"{name} {seconds:.2f} s" for name, seconds in each.waits.items()),
            )


def _through_the_gate(context: dg.OpExecutionContext, aim: "Aim", approve: str, ungated: str) -> None:
    from ops_workflows.errors import OpsError
    from ops_workflows.schema.apply import Hearers
    from ops_workflows.schema.gate import Demand, pass_gate
    from ops_workflows.schema.gate_record import GateStep, Outcome

    steps: list[GateStep] = []

    def heard(step: GateStep) -> None:
        steps.append(step)
        (context.log.error if step.outcome is Outcome.FAILED else context.log.info)(
            f"{step.outcome}: {step.name}: {step.said}"
        )

    hearers = Hearers(
        lambda done: context.log.info(
            f"{done.ledger} {done.direction} {done.version} {done.name}, {done.seconds:.2f} s"
        ),
        context.log.info,
    )
    demand = Demand(approve.strip(), ungated.strip())
    try:
        pass_gate(Settings.read(), aim, demand, heard=heard, hearers=hearers, progress=Logged(context.log))
    except OpsError as error:
        raise dg.Failure(str(error), metadata={"gate": _gate(steps)}) from error
    context.add_output_metadata({"gate": _gate(steps)})


def _gate(steps: "Sequence[GateStep]") -> dg.MarkdownMetadataValue:
    rows = ((step.name, step.outcome, step.said, f"{step.seconds:.1f}") for step in steps)
    return dg.MetadataValue.md(as_markdown(("step", "outcome", "said", "seconds"), rows))


@dg.op(pool="restore_drill", description="Apply pending migrations, if every step of the gate is passed.")
def migrate_pending(context: dg.OpExecutionContext, config: MigrateConfig) -> None:
    """The same code as `ops migrate up`."""
    from ops_workflows.schema.plan import upward

    _through_the_gate(context, upward(config.limit), config.approve, config.ungated)


@dg.op(pool="restore_drill", description="Take back the newest migrations, if every step of the gate is passed.")
def migrate_back(context: dg.OpExecutionContext, config: RollbackConfig) -> None:
    """The same code as `ops migrate down`."""
    from ops_workflows.schema.plan import back

    _through_the_gate(context, back(config.steps), config.approve, config.ungated)


@dg.job(
    executor_def=dg.in_process_executor,
    description="Try what is pending on a copy of the database, measure it, and prove the way back. Production is not "
    "touched.",
    tags={"dagster/max_runtime": 14_400},
)
def rehearse_migrations() -> None:
    """The job of one op."""
    rehearse_pending()


@dg.job(
    executor_def=dg.in_process_executor,
    description="Apply pending migrations: order, lint, a proved backup, rehearsal, approval of what is destroyed, "
    "apply, compare, ask.",
    tags={"dagster/max_runtime": 21_600},
)
def migrate_database() -> None:
    """The job of one op."""
    migrate_pending()


@dg.job(
    executor_def=dg.in_process_executor,
    description="Take back the application's newest migrations, through the same gate.",
    tags={"dagster/max_runtime": 21_600},
)
def rollback_migration() -> None:
    """The job of one op."""
    migrate_back()


nightly_rehearsal = dg.ScheduleDefinition(
    name="rehearse_migrations_at_05_00",
    job=rehearse_migrations,
    cron_schedule="0 5 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every day at 05:00 UTC, on last night's backup; nothing where nothing is pending.",
)

defs = dg.Definitions(
    assets=[schema_version],
    jobs=[observe_schema, set_feature_flag, rehearse_migrations, migrate_database, rollback_migration],
    schedules=[hourly_look, nightly_rehearsal],
)
