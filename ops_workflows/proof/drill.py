"""The restore drill: the database brought back on a clock, to some moment, and asked all that can be asked of it.

The clock runs from “go”, before the bucket is looked at, to the first answer. What is checked then is timed apart.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib.metadata import version
from random import Random, SystemRandom

from ops_workflows.backup.canary import plant
from ops_workflows.backup.wal_receiver import catch_up
from ops_workflows.errors import DatabaseError, IntegrityError, OpsError
from ops_workflows.progress import SILENT, Progress
from ops_workflows.proof import drill_checks
from ops_workflows.proof.contents import roll_back_prepared
from ops_workflows.proof.deadline import Deadline
from ops_workflows.proof.drill_choice import Choice, Holding, Wanted, choose_drill, instead_of_random
from ops_workflows.proof.report import report
from ops_workflows.proof.seen import digest
from ops_workflows.proof.smoke import SmokeQuery, read_smoke
from ops_workflows.proof.witness import newest_heartbeat, witnesses
from ops_workflows.repository.backup import Backup, utc_now
from ops_workflows.repository.canaries import Canary, along, canaries
from ops_workflows.repository.catalogue import Repository, open_repository
from ops_workflows.repository.drills import DrillCheck, DrillRecord, drill_ids, past_drills, store_drill
from ops_workflows.repository.layout import new_backup_id
from ops_workflows.repository.proofs import Proof, record
from ops_workflows.repository.reach import read_listing
from ops_workflows.repository.rungs import Rung
from ops_workflows.restore import run
from ops_workflows.restore.moment import AtTime
from ops_workflows.restore.scratch import scratch
from ops_workflows.settings import Settings

_CATCH_UP_SECONDS = 60.0
_WITNESSES = 2  # canaries that surround a moment


@dataclass(slots=True)
class _Run:
    """A drill under way.

    Attributes:
        choice: What it recovers.
        canaries: All that the bucket knows.
        planted: Those that this drill planted itself: they say nothing of how much would have been lost.
        began: “Go”.
        chain: The backups that are put together.
        rto_seconds: From “go” to the first answer; None as long as there is none.
        newest: The newest heartbeat that came back and was not planted by this drill.
        seconds: Of each phase.
        checks: What was looked at.
    """

    choice: Choice
    canaries: tuple[Canary, ...]
    planted: tuple[Canary, ...]
    began: datetime
    chain: tuple[Backup, ...] = ()
    rto_seconds: float | None = None
    newest: datetime | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    checks: list[DrillCheck] = field(default_factory=list)

    @property
    def backup(self) -> Backup:
        return self.choice.route.backup

    @property
    def rpo_seconds(self) -> float | None:
        """Age at “go” of the newest row that the bucket could give back: of a canary, or a heartbeat that came back.

        A row of a later time tells no age: the clock that it is from was ahead.
        """
        passed = along(self.canaries, self.choice.furthest)
        times = [canary.before for canary in passed if canary not in self.planted]
        times += [self.newest] if self.newest else []
        newest = max((each for each in times if each <= self.began), default=None)
        return None if newest is None else (self.began - newest) / timedelta(seconds=1)


def drill(
    settings: Settings, wanted: Wanted | None = None, progress: Progress = SILENT, chance: Random | None = None
) -> DrillRecord:
    """Recover into a scratch server, ask it, measure, keep the evidence in the bucket, and leave nothing else behind.

    A database that does not come back is what a drill is there to find out: that is a record, and no error.

    Args:
        settings: Bucket, objectives and bounds.
        wanted: What to recover. Default: a random moment, from the newest, the oldest and a random backup in turn.
        progress: Hears how far it is.
        chance: For tests.

    Raises:
        OpsError: It could not be tried, so nothing is known: the bucket, this machine or its room do not allow it, or
            it took longer than it may.
    """
    bounded = Deadline(progress, settings.drill_most_seconds, "The drill")
    smoke = read_smoke(settings.smoke_file)
    repository = open_repository(settings)
    under_way = _begin(settings, repository, wanted or Wanted(), bounded, chance or SystemRandom())
    _recover(settings, repository, under_way, smoke, bounded)
    done = _result(settings, repository, under_way)
    past = past_drills(repository)
    for why in past.passed_over.values():
        bounded.say(why)
    store_drill(repository, done, report(done, past.readable))
    for proof in _proofs(repository, done, under_way):
        record(repository, proof)
    return done


def _begin(settings: Settings, repository: Repository, wanted: Wanted, progress: Progress, chance: Random) -> _Run:
    """Choose; where no canaries surround any moment, plant some first."""
    held = _held(repository)
    choice, planted = choose_drill(wanted, held, chance), tuple[Canary, ...]()
    if choice is None:
        try:
            planted = tuple(plant(settings, repository.layout.system) for _ in range(_WITNESSES))
            catch_up(settings, _CATCH_UP_SECONDS, progress)
        except OpsError as error:
            progress.say(f"No canaries surround any moment, and none could be planted: {error}")
        held = _held(repository)
        choice = choose_drill(wanted, held, chance) or instead_of_random(held)
    return _Run(choice, tuple(held.canaries), planted, utc_now())


def _held(repository: Repository) -> Holding:
    newest = repository.find("latest")
    listing, histories = read_listing(repository, newest.wal_segment_bytes)
    return Holding(repository.backups(), listing, histories, canaries(repository), len(drill_ids(repository)))


def _recover(
    settings: Settings, repository: Repository, this: _Run, smoke: list[SmokeQuery] | None, progress: Deadline
) -> None:
    backup, route = this.backup, this.choice.route
    this.began, go = utc_now(), time.monotonic()
    try:
        this.chain = repository.chain(backup)
        with scratch(settings, backup.major, progress) as folder:
            # Read anew, as it would have to be by whoever has nothing else left.
            listing, _ = read_listing(repository, backup.wal_segment_bytes)
            plan = run.plan(route, folder / "data", chain=this.chain)
            this.seconds["plan"] = time.monotonic() - go
            with run.recovered(settings, repository, plan, listing, progress) as (restored, server):
                roll_back_prepared(server, backup.superuser)
                with restored.phase("first answer"):
                    this.newest = newest_heartbeat(server, backup.superuser, this.began, this.planted)
                this.rto_seconds = time.monotonic() - go
                this.seconds |= restored.seconds
                this.checks.append(DrillCheck(name="booted", passed=True, finding=f"It answers, as of {route.moment}."))
                seen = along(this.canaries, route.reach)
                time_asked = route.moment.time if isinstance(route.moment, AtTime) else None
                asked = witnesses(seen, time_asked, backup) if time_asked else None
                asking = drill_checks.Asking(server, backup.superuser, progress, this.seconds)
                this.checks += [asking.exact(asked, this.choice.lacking), asking.sound(), asking.smoke(smoke)]
    except (IntegrityError, DatabaseError) as error:
        this.checks.append(DrillCheck(name="booted", passed=False, finding=str(error)))


def _result(settings: Settings, repository: Repository, this: _Run) -> DrillRecord:
    backup, route = this.backup, this.choice.route
    rto = drill_checks.hold("rto", this.rto_seconds, settings.rto_objective_seconds, "It did not come back.")
    unknown = (
        "Unknown: no row is older than “go”. Dagster's sensor `canaries` or something else must write to ops.heartbeat."
    )
    rpo = drill_checks.hold("rpo", this.rpo_seconds, settings.rpo_objective_seconds, unknown)
    return DrillRecord(
        id=new_backup_id(this.began),
        system=repository.layout.system,
        at=this.began,
        backup_id=backup.id,
        backups=max(1, len(this.chain)),
        backup_finished_at=backup.finished_at,
        timeline=route.reach.timeline,
        moment=str(route.moment),
        chosen=this.choice.why,
        database_bytes=backup.database_bytes,
        stored_bytes=sum(link.stored_bytes for link in this.chain or (backup,)),
        wal_bytes=route.wal_bytes,
        rto_seconds=this.rto_seconds,
        rto_objective_seconds=settings.rto_objective_seconds,
        rpo_seconds=this.rpo_seconds,
        rpo_objective_seconds=settings.rpo_objective_seconds,
        seconds=this.seconds,
        checks=(rto, rpo, *this.checks),
        versions={"ops_workflows": version("ops-workflows"), "postgresql": str(backup.major)},
    )


def _proofs(repository: Repository, done: DrillRecord, this: _Run) -> Iterable[Proof]:
    seen = digest(repository, this.backup)
    known = [check for check in done.checks if check.passed is not None]
    told = [each for each in known if each.name in {"rto", "rpo"} or not each.passed]
    outcomes = [("drill", done.passed, " ".join(f"{each.name.upper()}: {each.finding}" for each in told))]
    # Where there was no moment to try it at, nothing was shown of the backup, for or against it.
    exact = [] if this.choice.lacking else [each for each in known if each.name == Rung.EXACT]
    outcomes += [(Rung.EXACT, bool(each.passed), each.finding) for each in exact]
    for what, passed, finding in outcomes:
        yield Proof(
            backup_id=done.backup_id,
            what=what,
            passed=passed,
            finding=finding,
            at=done.at,
            seconds=sum(done.seconds.values()),
            evidence=done.figures(),
            versions=done.versions,
            seen=seen,
        )
