"""Proof as Dagster sees it: the checks of each backup, and the restore drill with its two objectives."""

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from ops_workflows.backup.defs import base_backup, beside_dumps, logical_backup
from ops_workflows.progress import Logged
from ops_workflows.repository.rungs import Rung
from ops_workflows.settings import Settings

if TYPE_CHECKING:
    from ops_workflows.repository.backup import Backup
    from ops_workflows.repository.catalogue import Repository
    from ops_workflows.repository.proofs import Proof

type _Context = dg.AssetExecutionContext | dg.AssetCheckExecutionContext
type _Shown = dg.MaterializeResult[None] | dg.AssetCheckResult | dg.AssetObservation


def _made(context: _Context, asset: dg.AssetsDefinition, name: str) -> tuple[str | None, str | None]:
    """What an asset last made, and of which cluster; None where Dagster's memory is gone."""
    event = context.instance.get_latest_materialization_event(asset.key)
    known = event.asset_materialization.metadata if event and event.asset_materialization else {}
    made, system = (str(known[each].value) if each in known else None for each in (name, "system"))
    return made, system


def _newest(context: dg.AssetCheckExecutionContext, settings: Settings) -> "tuple[Repository, Backup]":
    """The backup that the asset last made; where Dagster's memory is gone, the newest in the bucket."""
    from ops_workflows.repository.catalogue import open_repository

    backup_id, system = _made(context, base_backup, "backup_id")
    repository = open_repository(settings, system)
    return repository, repository.find(backup_id or "latest")


_NIGHTLY = (Rung.STORED, Rung.CHECKSUMMED, Rung.CONTIGUOUS, Rung.RESTORED, Rung.BOOTED, Rung.SOUND)


@dg.multi_asset_check(
    name="prove_base_backup",
    specs=[
        dg.AssetCheckSpec(rung.value, asset=base_backup, blocking=True, description=rung.meaning) for rung in _NIGHTLY
    ],
    can_subset=True,
)
def ladder(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
    """Climb the rungs in order, up to the first that fails: what is above it was not shown, and is not called so."""
    from ops_workflows.proof.ladder import Ladder

    settings = Settings.read()
    repository, backup = _newest(context, settings)
    wanted = frozenset(Rung(key.name) for key in context.selected_asset_check_keys)
    climbs = Ladder(settings, repository, Logged(context.log), again=True).climb(backup, _NIGHTLY[-1], only=wanted)
    with closing(climbs):
        for done in climbs:
            (context.log.info if done.passed else context.log.error)(f"{done.rung}: {done.finding}")
            yield dg.AssetCheckResult(
                check_name=done.rung.value,
                passed=done.passed,
                description=done.finding,
                metadata={"backup_id": backup.id, **done.evidence},
                asset_key=base_backup.key,
            )


@dg.asset_check(
    asset=logical_backup,
    blocking=True,
    description="Loaded into an empty server without an error, every table holds what it held when it was dumped.",
)
def restorable(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """Load the dump that the asset last made, or the newest in the bucket, and compare it table by table."""
    dump_id, _ = _made(context, logical_backup, "dump_id")
    shown = _load_and_compare(context, Settings.read(), dump_id or "latest")
    return dg.AssetCheckResult(passed=shown.passed, description=shown.finding, metadata=_evidence(shown))


def _load_and_compare(context: _Context, settings: Settings, dump_id: str) -> "Proof":
    from ops_workflows.proof.restorable import restorable as load_and_compare
    from ops_workflows.repository.catalogue import open_repository
    from ops_workflows.repository.dumps import Dumps

    _, system = _made(context, logical_backup, "dump_id")
    dumps = Dumps(open_repository(settings, system))
    shown = load_and_compare(settings, dumps, dumps.find(dump_id), Logged(context.log))
    (context.log.info if shown.passed else context.log.error)(f"restorable: {shown.finding}")
    return shown


def _evidence(shown: "Proof") -> dict[str, float | int | str]:
    return {"dump_id": shown.backup_id, "seconds": round(shown.seconds, 2), **shown.evidence}


def _asked_for(context: dg.AssetExecutionContext, done: dg.MaterializeResult[None]) -> Iterator[_Shown]:
    """An asset with its checks; where somebody has selected checks alone, those."""
    if context.selected_asset_keys:
        yield done
    else:
        names = {key.name for key in context.selected_asset_check_keys}
        yield from (each for each in done.check_results or () if each.check_name in names)


class VerifyConfig(dg.Config):
    """How far to climb with which backups."""

    rung: Rung = Field(default=Rung.CONTIGUOUS, description="Every backup is climbed up to this rung.")
    highest: Rung = Field(
        default=Rung.SOUND, description="One backup, the one whose proof is the oldest, is climbed up to this rung."
    )
    again: bool = Field(default=False, description="Look again at what was shown lately and has not changed.")


@dg.multi_asset(
    name="backup_proof",
    specs=[
        dg.AssetSpec(
            "backup_proof",
            group_name="proof",
            kinds={"postgres", "s3"},
            owners=["team:database"],
            deps=[base_backup],
            freshness_policy=beside_dumps(
                dg.FreshnessPolicy.cron(deadline_cron="0 6 * * *", lower_bound_delta=timedelta(hours=4), timezone="UTC")
            ),
            description="Of each backup, which rungs of proof were shown, and how long ago.",
        )
    ],
    pool="restore_drill",
    can_subset=True,  # then nothing need be said of what could not be looked at: neither the asset nor any check
    check_specs=[
        dg.AssetCheckSpec(
            "all_proved",
            asset="backup_proof",
            blocking=True,  # so that the job fails, and its exit code says so
            description="No backup has failed a rung it was put to.",
        ),
        dg.AssetCheckSpec(
            "rto_forecast",
            asset="backup_proof",
            description="Recovering keeps the recovery time objective, now and for 30 days at the present growth.",
        ),
    ],
)
def backup_proof(context: dg.AssetExecutionContext, config: VerifyConfig) -> Iterator[_Shown]:
    """Climb with every backup, and lay the ledger out as a table. Nothing of either where there are only dumps."""
    from ops_workflows.backup.preflight import dumps_only
    from ops_workflows.proof.protection import protection
    from ops_workflows.proof.verify import verify_backups as climb_all

    settings = Settings.read()
    if reason := dumps_only(settings):
        context.log.warning(reason)
        return
    done = climb_all(settings, config.rung, config.highest, again=config.again, progress=Logged(context.log))
    expected = protection(settings)
    for sentence in done.faults:
        context.log.error(sentence)
    result = dg.MaterializeResult[None](
        asset_key="backup_proof",
        metadata={
            "backups": len(done.backups),
            "faulty": len(done.faults),
            "rungs_climbed": done.climbed,
            "ladder": dg.MetadataValue.md(done.as_markdown()),
            **expected.rto_figures(),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name="all_proved",
                passed=not done.faults,
                description="; ".join(done.faults) or f"{len(done.backups)} backups, and nothing speaks against any.",
                asset_key="backup_proof",
            ),
            dg.AssetCheckResult(
                check_name="rto_forecast",
                passed=expected.keeps_rto,
                severity=dg.AssetCheckSeverity.WARN,
                description=expected.rto_sentence,
                asset_key="backup_proof",
            ),
        ],
    )
    yield from _asked_for(context, result)


verify_backups = dg.define_asset_job(
    "verify_backups",
    selection=dg.AssetSelection.assets(backup_proof),
    description="Look at every backup in the bucket; restore the one that was not looked at for the longest time.",
    executor_def=dg.in_process_executor,
    tags={"dagster/max_runtime": 4 * 3600},
)

daily_verification = dg.ScheduleDefinition(
    name="verify_backups_at_03_30",
    job=verify_backups,
    cron_schedule="30 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night at 03:30 UTC, after the nightly backup and retention.",
)


@dg.sensor(
    name="canaries",
    target=None,
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Writes a canary every 5 minutes, without a run: a drill knows by them whether it came to its moment.",
)
def canaries() -> dg.SkipReason:
    """Plant one. None where there are only dumps, and hence no moment to come to."""
    from ops_workflows.backup.canary import plant
    from ops_workflows.backup.preflight import dumps_only

    settings = Settings.read()
    if reason := dumps_only(settings):
        return dg.SkipReason(reason)
    planted = plant(settings)
    return dg.SkipReason(f"Planted {planted.sender}, committed before {planted.lsn}.")


class DrillConfig(dg.Config):
    """What to recover in a drill."""

    to: str = Field(
        default="random",
        description="random (between two canaries), latest, a time with its zone, an LSN, or name:RESTORE_POINT.",
    )
    backup_id: str = Field(
        default="rotate",
        description="newest, oldest, random, rotate (these three in turn), or an id from `ops backups`.",
    )


_DRILL_CHECKS = {
    "rto": "From “go” to answering, within the objective.",
    "rpo": "Age of the newest row that the bucket could give back, within the objective.",
    "booted": "PostgreSQL recovered to the moment and answers.",
    "exact": Rung.EXACT.meaning,
    "sound": Rung.SOUND.meaning,
    "smoke": "The application's own queries (OPS_SMOKE_FILE) get the answers that they expect.",
}


@dg.multi_asset(
    name="run_restore_drill",  # an op and a job must not share a name, and the job's is the one that people type
    specs=[
        dg.AssetSpec(
            "restore_drill",
            group_name="proof",
            kinds={"postgres", "s3"},
            owners=["team:database"],
            deps=[base_backup],
            freshness_policy=beside_dumps(dg.FreshnessPolicy.time_window(fail_window=timedelta(days=8))),
            description="A backup recovered to some moment in a scratch server, on a clock, and asked everything.",
        )
    ],
    pool="restore_drill",
    can_subset=True,
    check_specs=[
        dg.AssetCheckSpec(name, asset="restore_drill", blocking=True, description=description)
        for name, description in _DRILL_CHECKS.items()
    ],
)
def restore_drill(context: dg.AssetExecutionContext, config: DrillConfig) -> Iterator[_Shown]:
    """Carry out a drill and hold it against the objectives. What could not be looked at is a warning, and no pass.

    Where there are only dumps, nothing of the sort can be said, and the newest of them is shown to be restorable.
    """
    from ops_workflows.backup.preflight import dumps_only
    from ops_workflows.proof.drill import drill
    from ops_workflows.proof.drill_choice import Wanted
    from ops_workflows.repository.drills import report_location

    settings = Settings.read()
    if reason := dumps_only(settings):
        context.log.warning(reason)
        shown = _load_and_compare(context, settings, "latest")
        yield dg.AssetObservation(logical_backup.key, shown.finding, metadata=_evidence(shown))
        if not shown.passed:
            raise dg.Failure(f"Dump {shown.backup_id} is not restorable: {shown.finding}")
        return
    done = drill(settings, Wanted(config.to, config.backup_id), Logged(context.log))
    results = []
    for check in done.checks:
        (context.log.info if check.passed else context.log.error)(f"{check.name}: {check.finding}")
        severity = dg.AssetCheckSeverity.WARN if check.passed is None else dg.AssetCheckSeverity.ERROR
        results.append(
            dg.AssetCheckResult(
                check_name=check.name,
                passed=bool(check.passed),
                severity=severity,
                description=check.finding,
                asset_key="restore_drill",
            )
        )
    missing = _DRILL_CHECKS.keys() - {check.name for check in done.checks}
    results += [
        dg.AssetCheckResult(
            check_name=name,
            passed=False,
            description="Not run: the database did not come back.",
            asset_key="restore_drill",
        )
        for name in sorted(missing)
    ]
    evidence = dg.MetadataValue.url(report_location(settings, done))
    result = dg.MaterializeResult[None](
        asset_key="restore_drill", metadata={"evidence": evidence, **done.figures()}, check_results=results
    )
    yield from _asked_for(context, result)


restore_drill_job = dg.define_asset_job(
    "restore_drill",
    selection=dg.AssetSelection.assets("restore_drill"),
    description="Recover to a random moment in a scratch server; measure RTO and RPO; check everything; clean up.",
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
    assets=[backup_proof, restore_drill],
    asset_checks=[ladder, restorable],
    jobs=[verify_backups, restore_drill_job],
    schedules=[daily_verification, weekly_drill],
    sensors=[canaries],
)
