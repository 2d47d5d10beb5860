"""Proof as Dagster sees it: the checks of each backup, and the restore drill with its two objectives."""

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from ops_workflows.backup.defs import base_backup, logical_backup
from ops_workflows.progress import Logged
from ops_workflows.proof.rungs import Rung
from ops_workflows.settings import Settings

if TYPE_CHECKING:
    from ops_workflows.repository.backup import Backup
    from ops_workflows.repository.catalogue import Repository


def _newest(context: dg.AssetCheckExecutionContext, settings: Settings) -> "tuple[Repository, Backup]":
    """The backup that the asset last made; where Dagster's memory is gone, the newest in the bucket."""
    from ops_workflows.repository.catalogue import open_repository

    event = context.instance.get_latest_materialization_event(base_backup.key)
    known = event.asset_materialization.metadata if event and event.asset_materialization else {}
    backup_id, system = (str(known[name].value) if name in known else None for name in ("backup_id", "system"))
    repository = open_repository(settings, system)
    return repository, repository.find(backup_id or "latest")


@dg.multi_asset_check(
    name="prove_base_backup",
    specs=[
        dg.AssetCheckSpec(rung.value, asset=base_backup, blocking=True, description=description)
        for rung, description in (
            (Rung.STORED, "Every object is in the bucket as it was sent."),
            (Rung.CHECKSUMMED, "Every file in it hashes to what PostgreSQL's manifest says."),
            (Rung.BOOTED, "In a scratch server it starts, every table can be read; rows and schema are as expected."),
        )
    ],
    can_subset=True,
)
def ladder(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
    """Climb the rungs in order, up to the first that fails: what is above it was not shown, and is not called so."""
    from ops_workflows.proof.ladder import climb

    settings = Settings.read()
    repository, backup = _newest(context, settings)
    wanted = {key.name for key in context.selected_asset_check_keys}
    for rung in (rung for rung in Rung if rung in wanted):
        done = climb(rung, settings, repository, backup, Logged(context.log))
        (context.log.info if done.passed else context.log.error)(f"{rung}: {done.finding}")
        evidence = {"backup_id": backup.id, **done.evidence}
        yield dg.AssetCheckResult(
            check_name=rung.value,
            passed=done.passed,
            description=done.finding,
            metadata=evidence,
            asset_key=base_backup.key,
        )
        if not done.passed:
            return


@dg.asset_check(
    asset=logical_backup,
    blocking=True,
    description="Loaded into an empty server without an error, every table holds what it held when it was dumped.",
)
def restorable(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """Load the dump that the asset last made, or the newest in the bucket, and compare it table by table."""
    from ops_workflows.proof.restorable import restorable as load_and_compare
    from ops_workflows.repository.catalogue import open_repository
    from ops_workflows.repository.dumps import Dumps

    settings = Settings.read()
    event = context.instance.get_latest_materialization_event(logical_backup.key)
    known = event.asset_materialization.metadata if event and event.asset_materialization else {}
    dump_id, system = (str(known[name].value) if name in known else None for name in ("dump_id", "system"))
    dumps = Dumps(open_repository(settings, system))
    shown = load_and_compare(settings, dumps, dumps.find(dump_id or "latest"), Logged(context.log))
    (context.log.info if shown.passed else context.log.error)(f"restorable: {shown.finding}")
    evidence = {"dump_id": shown.backup_id, "seconds": round(shown.seconds, 2), **shown.evidence}
    return dg.AssetCheckResult(passed=shown.passed, description=shown.finding, metadata=evidence)


class DrillConfig(dg.Config):
    """What to restore in a drill."""

    backup_id: str = Field(default="latest", description="A backup's id from `ops backups`, or `latest`.")


@dg.multi_asset(
    name="run_restore_drill",  # an op and a job must not share a name, and the job's is the one that people type
    specs=[
        dg.AssetSpec(
            "restore_drill",
            group_name="proof",
            kinds={"postgres", "s3"},
            owners=["team:database"],
            deps=[base_backup],
            freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(days=8)),
            description="A backup restored into a scratch server on a clock: how long it took, how new its data was.",
        )
    ],
    pool="restore_drill",
    check_specs=[
        dg.AssetCheckSpec(
            "rto", asset="restore_drill", blocking=True, description="From “go” to answering, within the objective."
        ),
        dg.AssetCheckSpec(
            "rpo", asset="restore_drill", blocking=True, description="Age of the newest row recovered, likewise."
        ),
    ],
)
def restore_drill(context: dg.AssetExecutionContext, config: DrillConfig) -> Iterator[dg.MaterializeResult[None]]:
    """Carry out a drill and hold it against the objectives."""
    from ops_workflows.proof.drill import drill

    settings = Settings.read()
    done = drill(settings, config.backup_id, Logged(context.log))
    results = [
        dg.AssetCheckResult(check_name=name, passed=held.passed, description=held.finding, metadata=held.evidence)
        for name, held in done.objectives(settings).items()
    ]
    for result in results:
        (context.log.info if result.passed else context.log.error)(f"{result.check_name}: {result.description}")
    yield dg.MaterializeResult(asset_key="restore_drill", metadata=done.figures(), check_results=results)


restore_drill_job = dg.define_asset_job(
    "restore_drill",
    selection=dg.AssetSelection.assets("restore_drill"),
    description="Restore the newest backup into a scratch server; measure RTO and RPO; clean up.",
    executor_def=dg.in_process_executor,
    tags={"dagster/max_runtime": 3600},
)

weekly_drill = dg.ScheduleDefinition(
    name="restore_drill_on_sunday_at_04_00",
    job=restore_drill_job,
    cron_schedule="0 4 * * 0",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every Sunday at 04:00 UTC.",
)

defs = dg.Definitions(
    assets=[restore_drill], asset_checks=[ladder, restorable], jobs=[restore_drill_job], schedules=[weekly_drill]
)
