"""Backups as Dagster sees them: the asset, the nightly job, its schedule."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
from pydantic import Field

from ops_workflows.backup.policy import Kind
from ops_workflows.progress import Logged
from ops_workflows.settings import Settings

_CATCH_UP_SECONDS = 900.0
_SHORTEST_WINDOW_SECONDS = 60  # that Dagster takes
_PROMISED = Settings.read()  # while Dagster loads this: a policy is what was promised; each run reads them anew
_NO_MIRROR = "OPS_MIRROR_URL is not set: there is no second repository, and nothing is copied."


def beside_dumps(policy: dg.FreshnessPolicy) -> dg.FreshnessPolicy | None:
    """A freshness policy for what base backups and WAL bring forth; none where OPS_BACKUP_METHOD rules them out."""
    return None if _PROMISED.backup_method == "dumps" else policy


class BackupConfig(dg.Config):
    """What kind of base backup to take."""

    kind: Kind = Field(
        default=Kind.AUTO, description="auto: full on OPS_BACKUP_FULL_WEEKDAY, else incremental if it can be."
    )


@dg.asset(
    group_name="backup",
    kinds={"postgres", "s3"},
    owners=["team:database"],
    pool="base_backup",
    output_required=False,
    freshness_policy=beside_dumps(
        dg.FreshnessPolicy.cron(deadline_cron="0 3 * * *", lower_bound_delta=timedelta(hours=1), timezone="UTC")
    ),
    description="A base backup of the cluster, full or incremental, streamed over the replication protocol.",
)
def base_backup(context: dg.AssetExecutionContext, config: BackupConfig) -> Iterator[dg.MaterializeResult[None]]:
    """Take a base backup; its figures are the metadata. Nothing, and no checks, where there are only dumps."""
    from ops_workflows.backup.canary import plant_if_possible
    from ops_workflows.backup.preflight import dumps_only
    from ops_workflows.backup.take import take_backup

    settings, progress = Settings.read(), Logged(context.log)
    if reason := dumps_only(settings):
        context.log.warning(reason)
        return
    backup = take_backup(settings, progress, config.kind)
    plant_if_possible(settings, progress)  # so that a moment behind every backup has a canary before it
    yield dg.MaterializeResult(
        metadata={
            "backup_id": backup.id,
            "builds_on": backup.parent or "nothing: it is full",
            "database_bytes": backup.database_bytes,
            "stored_bytes": backup.stored_bytes,
            "archived_bytes": backup.archived_bytes,
            "compression_ratio": round(backup.archived_bytes / backup.stored_bytes, 2),
            "seconds": round(backup.seconds, 2),
            "mb_per_second": round(backup.bytes_per_second / 1e6, 1),
            "codec": f"{backup.codec} by the {backup.compressed_by}",
            "start_lsn": str(backup.start_lsn),
            "stop_lsn": str(backup.stop_lsn),
            "timeline": backup.timeline,
            "system": backup.system,
        }
    )


@dg.asset(
    group_name="backup",
    kinds={"postgres", "s3"},
    owners=["team:database"],
    pool="logical_backup",
    freshness_policy=dg.FreshnessPolicy.cron(
        deadline_cron="0 5 * * *", lower_bound_delta=timedelta(hours=3), timezone="UTC"
    ),
    description="Every database as pg_dump writes it, with what each table held in the snapshot that was dumped.",
)
def logical_backup(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    """Take a logical dump, which needs no more than the right to read; its figures are the metadata."""
    from ops_workflows.backup.dump import take_dump

    dump = take_dump(Settings.read(), progress=Logged(context.log))
    return dg.MaterializeResult(
        metadata={
            "dump_id": dump.id,
            "databases": len(dump.databases),
            "tables": dump.tables,
            "rows": dump.rows,
            "database_bytes": dump.database_bytes,
            "stored_bytes": dump.stored_bytes,
            "seconds": round(dump.seconds, 2),
            "mb_per_second": round(dump.database_bytes / 1e6 / dump.seconds, 1),
            "left_out": ", ".join(dump.left_out) or "nothing",
            "system": dump.system,
        }
    )


nightly_backup = dg.define_asset_job(
    "nightly_backup",
    selection=dg.AssetSelection.assets(base_backup, logical_backup),
    description="Back up and dump the database, then prove both: stored, checksummed, booted; restorable.",
    executor_def=dg.in_process_executor,
    tags={"dagster/max_runtime": 4 * 3600},
)

nightly = dg.ScheduleDefinition(
    name="nightly_backup_at_02_00",
    job=nightly_backup,
    cron_schedule="0 2 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night at 02:00 UTC.",
)

wal_archive = dg.AssetSpec(
    "wal_archive",
    group_name="backup",
    kinds={"postgres", "s3"},
    owners=["team:database"],
    freshness_policy=beside_dumps(
        dg.FreshnessPolicy.time_window(
            fail_window=timedelta(seconds=max(_PROMISED.rpo_objective_seconds, _SHORTEST_WINDOW_SECONDS))
        )
    ),
    description="The write-ahead log in the bucket, shipped by `ops wal stream`: fresh while the bucket keeps up.",
)


@dg.sensor(
    name="wal_archive_position",
    job=nightly_backup,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Reports every 30 s, without a run, how far the bucket has the log. A gap behind the newest backup "
    "launches a new one.",
)
def wal_archive_position() -> dg.SensorResult | dg.SkipReason:
    """Materialize `wal_archive` while it keeps the recovery point objective; otherwise only observe it."""
    from ops_workflows.backup.preflight import dumps_only
    from ops_workflows.backup.wal_status import wal_status

    settings = Settings.read()
    if reason := dumps_only(settings):
        return dg.SkipReason(reason)
    status = wal_status(settings)
    metadata: dict[str, int | float | str | bool] = {
        "receiving": status.receiving,
        "receiver": status.receiver,
        "gaps": len(status.gaps),
        "missing": ", ".join(f"{gap.start} to {gap.end} on timeline {gap.timeline}" for gap in status.gaps)
        or "nothing",
    }
    if status.position is not None:
        metadata["position"] = str(status.position)
    if status.window is not None:
        metadata |= {"window_start": status.window[0].isoformat(), "window_end": status.window[1].isoformat()}
    if status.lag_seconds is not None and status.lag_bytes is not None:
        metadata |= {"lag_bytes": status.lag_bytes, "lag_seconds": round(status.lag_seconds, 3)}
    event = dg.AssetMaterialization if status.keeps_objective and status.is_whole else dg.AssetObservation
    # A key is remembered for ever, and a run may fail: an hour later the same gap asks again.
    cut = status.cut_off
    hour = datetime.now(UTC).strftime("%Y%m%dT%H")
    runs = [dg.RunRequest(run_key=f"gap-{cut.timeline}-{cut.start}-{hour}")] if cut is not None else []
    return dg.SensorResult(run_requests=runs, asset_events=[event(asset_key=wal_archive.key, metadata=metadata)])


@dg.op(description="Ship everything that the server has written until now; the same code as `ops wal stream`.")
def ship_wal_until_now(context: dg.OpExecutionContext) -> None:
    """Catch up; where a receiver is at work, wait until it has."""
    from ops_workflows.backup.wal_receiver import catch_up

    received = catch_up(Settings.read(), seconds=_CATCH_UP_SECONDS, progress=Logged(context.log))
    context.log.info(f"The bucket has timeline {received.timeline} up to {received.flushed}.")


@dg.job(
    executor_def=dg.in_process_executor,
    description="Bring the log in the bucket up to now, within 15 minutes.",
    tags={"dagster/max_runtime": 1800},
)
def archive_wal() -> None:
    """The job of one op."""
    ship_wal_until_now()


class RetentionConfig(dg.Config):
    """Whether to delete, or only to say what would be."""

    apply: bool = Field(default=True, description="false: log the plan and delete nothing.")


@dg.op(pool="base_backup", description="Delete the backups, dumps and WAL that the policy lets go; log why.")
def let_old_backups_go(context: dg.OpExecutionContext, config: RetentionConfig) -> None:
    """Plan retention, and carry the plan out; the same code as `ops retention`."""
    from ops_workflows.backup.retain import enforce
    from ops_workflows.repository.catalogue import open_repository
    from ops_workflows.repository.retention_facts import plan_retention

    settings = Settings.read()
    done = enforce(settings, Logged(context.log)) if config.apply else None
    plan = done.plan if done else plan_retention(settings, open_repository(settings))
    for decision in plan.decisions:
        verb = "keep" if decision.keep else "let go"
        context.log.info(f"{decision.backup.id}: {verb}; {'; '.join(decision.reasons)}")
    for each in plan.dumps:
        context.log.info(f"dump {each.dump.id}: {'keep' if each.keep else 'let go'}; {'; '.join(each.reasons)}")
    context.add_output_metadata(
        {
            "applied": config.apply,
            "backups_kept": len(plan.kept),
            "backups_let_go": len(done.backups if done else plan.gone),
            "dumps_kept": len(plan.dumps) - len(plan.gone_dumps),
            "dumps_let_go": len(done.dumps if done else plan.gone_dumps),
            "wal_objects_let_go": done.wal_objects if done else len(plan.wal),
            "old_versions_deleted": done.versions if done else 0,
            "freed_bytes": plan.freed_bytes,
            "notes": "\n".join(plan.notes) or "none",
        }
    )


@dg.job(
    executor_def=dg.in_process_executor,
    description="Let old backups, dumps and WAL go, by day, week, month; never what is needed, pinned or proven last.",
    tags={"dagster/max_runtime": 3600},
)
def enforce_retention() -> None:
    """The job of one op."""
    let_old_backups_go()


retention = dg.ScheduleDefinition(
    name="enforce_retention_at_03_00",
    job=enforce_retention,
    cron_schedule="0 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night at 03:00 UTC, after the nightly backup; while one still runs, it waits.",
)


@dg.asset(
    group_name="backup",
    kinds={"s3"},
    owners=["team:database"],
    pool="mirror",
    freshness_policy=dg.FreshnessPolicy.cron(
        deadline_cron="45 6 * * *", lower_bound_delta=timedelta(hours=4), timezone="UTC"
    ),
    output_required=False,
    description="The second repository, OPS_MIRROR_URL: backups, dumps and WAL copied there and verified.",
)
def mirror(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
    """Copy what the second repository lacks, the same code as `ops mirror`; nothing where there is none."""
    settings = Settings.read()
    if settings.mirror_url is None:
        context.log.info(_NO_MIRROR)
        return
    from ops_workflows.backup.mirror import mirror as carry_out

    done = carry_out(settings, Logged(context.log))
    yield dg.MaterializeResult(
        metadata={
            "backups": sum(each.copied["backups"] for each in done),
            "dumps": sum(each.copied["dumps"] for each in done),
            "wal_objects": sum(each.copied["wal"] for each in done),
            "copied_bytes": sum(each.copied_bytes for each in done),
            "verified_by_checksum": sum(each.verified.by_checksum for each in done),
            "verified_by_reading": sum(each.verified.by_reading for each in done),
            "backups_let_go": sum(len(each.enforced.backups) for each in done if each.enforced),
            "dumps_let_go": sum(len(each.enforced.dumps) for each in done if each.enforced),
        }
    )


mirror_repository = dg.define_asset_job(
    "mirror_repository",
    selection=dg.AssetSelection.assets(mirror),
    description="Bring the second repository up to the first, verified, and let its old backups go.",
    executor_def=dg.in_process_executor,
    tags={"dagster/max_runtime": 8 * 3600},
)


@dg.schedule(
    name="mirror_repository_at_03_30",
    job=mirror_repository,
    cron_schedule="30 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night at 03:30 UTC, after the nightly backup and retention; skipped without OPS_MIRROR_URL.",
)
def mirroring() -> dg.RunRequest | dg.SkipReason:
    """A run, where there is a second repository."""
    return dg.RunRequest() if Settings.read().mirror_url else dg.SkipReason(_NO_MIRROR)


defs = dg.Definitions(
    assets=[base_backup, logical_backup, wal_archive, mirror],
    jobs=[nightly_backup, archive_wal, enforce_retention, mirror_repository],
    schedules=[nightly, retention, mirroring],
    sensors=[wal_archive_position],
)
