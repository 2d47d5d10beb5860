"""A rehearsal: what is to be done to the schema, done to a copy of the database under traffic, measured, and undone.

What is measured is this machine's time: production may be slower or faster. What is locked, rewritten or refused is the
same there.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from ops_workflows.errors import ConfigurationError, DatabaseError, OpsError, RefusedError
from ops_workflows.progress import SILENT, Progress
from ops_workflows.proof.deadline import Deadline
from ops_workflows.proof.smoke import SmokeQuery, ask_smoke, read_smoke
from ops_workflows.repository.backup import utc_now
from ops_workflows.repository.catalogue import open_repository
from ops_workflows.repository.layout import new_backup_id
from ops_workflows.repository.rehearsals import RehearsalCheck, RehearsalRecord, TrafficTold, store_rehearsal
from ops_workflows.schema.apply import Applied, Hearers, Terms, apply_own, intend, migrate
from ops_workflows.schema.catalogue import differences
from ops_workflows.schema.copy import DatabaseCopy, database_copy
from ops_workflows.schema.intent import Intent
from ops_workflows.schema.judge import Limits, judge
from ops_workflows.schema.mix import Mix, read_mix
from ops_workflows.schema.plan import Aim, Direction, toward
from ops_workflows.schema.replay import Replay, Told, replaying
from ops_workflows.schema.told import tell
from ops_workflows.schema.watch import Watcher
from ops_workflows.schema.way_back import data_comes_back, way_back
from ops_workflows.settings import Settings
from ops_workflows.wording import counted

BEFORE, DURING, AFTER = "before", "during", "after"
_WARM_SECONDS, _BEFORE_SECONDS = 2.0, 1.0
_MOST_NAMED = 5


@dataclass(slots=True)
class _Rehearsal:
    """A rehearsal under way.

    Attributes:
        settings: Limits, files.
        intent: What is rehearsed, as production would have it.
        aim: Where to.
        folder: Of the migrations.
        progress: Hears how far it is.
        watcher: Of the statements.
        applied: What was applied, in order.
        seconds: Of each phase.
        checks: What was looked at.
        traffic: How it fared; None where there was none.
        before: The catalogue as the database has it.
        halfway: Once what was left half done is finished; the same where there is no such.
        after: After the last step.
    """

    settings: Settings
    intent: Intent
    aim: Aim
    folder: Path
    progress: Progress
    watcher: Watcher
    applied: list[Applied] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    checks: list[RehearsalCheck] = field(default_factory=list)
    traffic: list[TrafficTold] | None = None
    before: dict[str, str] = field(default_factory=dict)
    halfway: dict[str, str] = field(default_factory=dict)
    after: dict[str, str] = field(default_factory=dict)


def rehearse(settings: Settings, aim: Aim, progress: Progress = SILENT) -> RehearsalRecord:
    """Rehearse on a copy what `migrate` would do to the database now, and keep what was seen in the bucket.

    A migration that fails there, or goes beyond a limit, is what a rehearsal is there to find out: that is a record,
    and no error.

    Args:
        settings: The database and its migrations, the bucket, the limits.
        aim: Where the schema is to be led.
        progress: Hears how far it is.

    Raises:
        RefusedError: There is nothing to do, it cannot be done, or no backup counts as proved.
        OpsError: It could not be tried, so nothing is known.
    """
    dsn, folder = settings.require("owner_dsn"), settings.migrations_dir
    intent = intend(dsn, folder, aim)
    if not intent.files:
        raise RefusedError("There is nothing to rehearse: nothing is pending.")
    mix, smoke = _mix(settings), _smoke_queries(settings)
    told_by = terms_digest(settings, intent)
    bounded = Deadline(progress, settings.drill_most_seconds + settings.migrate_most_seconds, "The rehearsal")
    repository, began = open_repository(settings), utc_now()
    with database_copy(settings, repository, intent.database, bounded) as copy:
        this = _Rehearsal(settings, intent, aim, folder, bounded, Watcher(copy.superuser), seconds=dict(copy.seconds))
        _come_along(this, copy)
        this.checks.append(_as_of(copy))
        this.before = this.halfway = copy.catalogue()
        with _phase(this, "data"):
            this.checks.append(data_comes_back(copy, folder, intent, settings))
        if faults := differences(this.before, copy.catalogue()):
            why = f"Tried once without traffic, the way back leaves another schema: {'; '.join(faults[:_MOST_NAMED])}."
            this.checks.append(RehearsalCheck(name="way back", passed=False, finding=why))
        else:
            _up(this, copy, mix)
        if _went_well(this):
            _smoke(this, copy, smoke)
            with _phase(this, "way back"):
                this.checks += way_back(copy, this.folder, this.intent, this.halfway, this.after)
    record = RehearsalRecord(
        id=new_backup_id(began),
        system=repository.layout.system,
        at=began,
        plan=intent.digest,
        terms=told_by,
        database=intent.database,
        backup_id=copy.backup.id,
        moment=copy.moment,
        start=intent.start.version,
        end=intent.end.version,
        files=tuple(tell(this.watcher.watched, this.applied)),
        traffic=tuple(this.traffic or ()),
        checks=tuple(this.checks),
        seconds=this.seconds,
        catalogue_before=this.before,
        catalogue_after=this.after,
        versions={"ops_workflows": version("ops-workflows"), "postgresql": str(copy.backup.major)},
    )
    store_rehearsal(repository, record)
    return record


def terms_digest(settings: Settings, intent: Intent) -> str:
    """Of all that a rehearsal's outcome depends on besides the plan itself: limits, traffic, questions, ways back."""
    inverse = [step.migration.down if step.direction is Direction.UP else step.migration.up for step in intent.steps]
    read = [settings.traffic_file, settings.smoke_file, *inverse]
    files = [hashlib.sha256(path.read_bytes()).hexdigest() if path and path.is_file() else "" for path in read]
    limits = [settings.migrate_most_lock_seconds, settings.migrate_most_seconds, settings.rehearsal_traffic_rate]
    return hashlib.sha256(json.dumps([version("ops-workflows"), limits, files]).encode()).hexdigest()


def _mix(settings: Settings) -> Mix | None:
    """The traffic; None where nobody has named any.

    Raises:
        ConfigurationError: It was named and is not there, or cannot be read.
    """
    mix = read_mix(settings.traffic_file) if settings.rehearsal_traffic_rate else None
    if mix is None and settings.rehearsal_traffic_rate and _is_named(settings, "traffic_file"):
        raise ConfigurationError(f"{settings.traffic_file} is not there: correct OPS_TRAFFIC_FILE.")
    return mix


def _smoke_queries(settings: Settings) -> list[SmokeQuery] | None:
    queries = read_smoke(settings.smoke_file)
    if queries is None and _is_named(settings, "smoke_file"):
        raise ConfigurationError(f"{settings.smoke_file} is not there: correct OPS_SMOKE_FILE.")
    return queries


def _is_named(settings: Settings, name: str) -> bool:
    """Whether somebody wants another file than the default one."""
    return bool(getattr(settings, name) != Settings.model_fields[name].default)


def _as_of(copy: DatabaseCopy) -> RehearsalCheck:
    if copy.lacking:
        finding = f"The copy, as of {copy.moment}, lacks the last changes: {copy.lacking}"
        return RehearsalCheck(name="as of", passed=False, finding=finding)
    return RehearsalCheck(name="as of", passed=True, finding=f"The copy has all that there was: {copy.moment}.")


def _come_along(this: _Rehearsal, copy: DatabaseCopy) -> None:
    """Bring the copy to where production stands: it may be from before the last migration.

    Raises:
        RefusedError: It does not get there.
    """
    try:
        found = intend(copy.owner, this.folder, this.aim)
        if found.digest != this.intent.digest and not this.intent.position.dirty:
            migrate(copy.owner, this.folder, toward(this.intent.position.version))
            found = intend(copy.owner, this.folder, this.aim)
        apply_own(copy.owner)  # which come first
    except OpsError as error:
        raise RefusedError(f"The copy cannot be brought to where the database stands: {error}") from error
    if found.digest != this.intent.digest:
        raise RefusedError(
            f"The copy, as of {copy.moment}, does not stand where the database stands (version "
            f"{this.intent.position.version}): see whether the log is shipped, `ops wal status`, and run this again."
        )


def _up(this: _Rehearsal, copy: DatabaseCopy, mix: Mix | None) -> None:
    hearers = Hearers(lambda applied: _heard(this, applied), this.progress.say)
    terms = Terms(hearers, watch=this.watcher.watch)
    this.progress.begin("migrate", None)
    with _traffic(this, copy, mix) as replay:
        try:
            with _phase(this, "migrate"), this.watcher.looking():
                if this.intent.rest is not None:
                    migrate(copy.owner, this.folder, lambda _position, _files: [], terms)
                    this.halfway = copy.catalogue()
                migrate(copy.owner, this.folder, this.aim, terms)
            way = f"from version {this.intent.start.version} to {this.intent.end.version}"
            finding = f"{counted(len(this.intent.files), 'file')}, {way}."
            this.checks.append(RehearsalCheck(name="applies", passed=True, finding=finding))
        except (DatabaseError, RefusedError) as error:
            this.watcher.end_file()
            this.checks.append(RehearsalCheck(name="applies", passed=False, finding=str(error)))
        if replay is not None:
            replay.span(AFTER)
            replay.warm(_WARM_SECONDS)
    this.after = copy.catalogue()
    limits = Limits(this.settings.migrate_most_lock_seconds, this.settings.migrate_most_seconds)
    this.checks += judge(list(tell(this.watcher.watched, this.applied)), this.traffic, limits)


@contextmanager
def _traffic(this: _Rehearsal, copy: DatabaseCopy, mix: Mix | None) -> Iterator[Replay | None]:
    if mix is None:
        yield None
        return
    with replaying(copy.owner, mix, rate=this.settings.rehearsal_traffic_rate) as replay:
        replay.span(BEFORE)
        with _phase(this, "warm up"):
            replay.warm(_WARM_SECONDS)
            time.sleep(_BEFORE_SECONDS)  # what fails now and then should do so before, too
        replay.span(DURING)
        yield replay
    spans = replay.spans
    this.traffic = [_fared(name, spans) for name in sorted({name for span in spans.values() for name in span})]


def _fared(name: str, spans: Mapping[str, Mapping[str, Told]]) -> TrafficTold:
    before, during, after = (spans.get(span, {}).get(name, Told()) for span in (BEFORE, DURING, AFTER))
    return TrafficTold(
        name=name,
        before_seconds=before.longest_seconds if before.count else None,
        during_seconds=during.longest_seconds if during.count else None,
        sent=before.count + during.count + after.count,
        failed_before=before.first_error or "",
        failed_since=during.first_error or after.first_error or "",
    )


def _smoke(this: _Rehearsal, copy: DatabaseCopy, queries: list[SmokeQuery] | None) -> None:
    if queries is None:
        check = RehearsalCheck(name="smoke", passed=None, finding="Not run: there is no file OPS_SMOKE_FILE.")
    else:
        with _phase(this, "smoke"):
            faults = ask_smoke(copy.owner, queries)
        finding = "; ".join(faults) or f"{len(queries)} queries were answered as expected."
        check = RehearsalCheck(name="smoke", passed=not faults, finding=finding)
    this.checks.append(check)


def _went_well(this: _Rehearsal) -> bool:
    return any(check.passed for check in this.checks if check.name == "applies")


def _heard(this: _Rehearsal, applied: Applied) -> None:
    this.watcher.end_file()
    this.applied.append(applied)


@contextmanager
def _phase(this: _Rehearsal, name: str) -> Iterator[None]:
    began = time.monotonic()
    try:
        yield
    finally:
        this.seconds[name] = time.monotonic() - began
