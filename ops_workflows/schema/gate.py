"""The gate that a migration has to pass: what can be known beforehand is known before anything is done."""

import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from datetime import timedelta

from ops_workflows.backup.policy import Kind
from ops_workflows.backup.take import take_backup
from ops_workflows.errors import DatabaseError, OpsError, RefusedError
from ops_workflows.postgres.connection import Connection
from ops_workflows.progress import SILENT, Progress
from ops_workflows.proof.ladder import Ladder
from ops_workflows.proof.smoke import ask_smoke, read_smoke
from ops_workflows.repository.backup import Backup, utc_now
from ops_workflows.repository.catalogue import open_repository
from ops_workflows.repository.proved import PROVED, newest_proved
from ops_workflows.repository.rehearsals import RehearsalRecord, rehearsals
from ops_workflows.schema.apply import (
    Applied,
    Hearers,
    Terms,
    application_ledger,
    apply_own,
    intend,
    migrate,
    remembered,
)
from ops_workflows.schema.catalogue import differences
from ops_workflows.schema.gate_record import Gate, GateStep, Outcome, keep_steps, last_gate, open_gate
from ops_workflows.schema.intent import Intent
from ops_workflows.schema.lint import lint
from ops_workflows.schema.plan import NOTHING, Aim, upward
from ops_workflows.schema.reference import Catalogue
from ops_workflows.schema.rehearse import rehearse, terms_digest
from ops_workflows.schema.session import DEFAULT_PATIENCE, connected, exclusive
from ops_workflows.schema.settle import settle_foreign
from ops_workflows.settings import Settings
from ops_workflows.wording import counted, first_few

_LOCK = "gate"  # in the place of a table's name: one run at a time, from its plan to its end
_WAY = (
    "Look at it; to go back: `ops migrate down`, or `ops restore --to` the place that `ops migrate history` names, "
    "which is just before."
)
_TABLES = """
    SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'ops')
      AND n.nspname !~ '^pg_(toast|temp)' AND c.relname <> 'schema_migrations'"""

type _Said = tuple[Outcome, str]


@dataclass(frozen=True, slots=True)
class Demand:
    """What somebody who wants to migrate says.

    Attributes:
        approval: Digest of the plan whose destructive steps they approve of; empty where they do not.
        ungated: Why lint, backup, rehearsal and what is compared with it are left out; empty where they are not.
    """

    approval: str = ""
    ungated: str = ""


@dataclass(frozen=True, slots=True)
class Passed:
    """A migration that has passed.

    Attributes:
        steps: What came of each step of the gate.
        applied: What was applied, the project's own first.
    """

    steps: tuple[GateStep, ...]
    applied: tuple[Applied, ...]


@dataclass(slots=True)
class _Gate:
    """On the way through.

    Attributes:
        settings: Of everything.
        aim: Where to.
        demand: What was said.
        intent: What is to be done.
        heard: Hears of each step.
        hearers: Hear of what is applied.
        progress: Hears of long work.
        id: Under which the steps are kept.
        new: Whether there is nothing yet that could be harmed.
        steps: So far.
        backup: On which it rests; None where it rests on none.
        rehearsal: On which it rests; None where it rests on none.
        applied: What was applied.
    """

    settings: Settings
    aim: Aim
    demand: Demand
    intent: Intent
    heard: Callable[[GateStep], None]
    hearers: Hearers
    progress: Progress
    id: int
    new: bool
    steps: list[GateStep] = field(default_factory=list)
    backup: Backup | None = None
    rehearsal: RehearsalRecord | None = None
    applied: list[Applied] = field(default_factory=list)

    def do(self, name: str, work: Callable[[], _Said]) -> None:
        """Take a step, and keep what came of it.

        Raises:
            OpsError: It failed: everything stops.
        """
        began = time.monotonic()
        try:
            outcome, said = work()
        except OpsError as error:
            self._keep(GateStep(name, Outcome.FAILED, str(error), time.monotonic() - began), passed=False)
            raise
        self._keep(GateStep(name, outcome, said, time.monotonic() - began))

    def need(self, name: str, work: Callable[[], _Said]) -> None:
        """Take a step that is not needed where nothing can be harmed, and may be left out by who says why."""
        if self.new:
            self.do(name, lambda: (Outcome.NOT_NEEDED, "There are no tables yet that could be harmed."))
        elif self.demand.ungated:
            self.do(name, lambda: (Outcome.LEFT_OUT, self.demand.ungated))
        else:
            self.do(name, work)

    def end(self) -> None:
        """It has passed."""
        self._store(passed=True)

    def _keep(self, step: GateStep, passed: bool | None = None) -> None:
        self.steps.append(step)
        self.heard(step)
        # Where the database is gone, the error that says so is the one to be heard.
        with suppress(DatabaseError) if passed is False else nullcontext():
            self._store(passed)

    def _store(self, passed: bool | None) -> None:
        with connected(self.settings.require("owner_dsn")) as connection:
            keep_steps(connection, self.id, self.steps, passed)


def pass_gate(
    settings: Settings,
    aim: Aim,
    demand: Demand | None = None,
    *,
    heard: Callable[[GateStep], None] = lambda _step: None,
    hearers: Hearers | None = None,
    progress: Progress = SILENT,
) -> Passed:
    """Migrate, if every step of the gate is passed.

    Args:
        settings: The database and its migrations, the bucket, the limits.
        aim: Where the schema is to be led.
        demand: Approval, and what is to be left out.
        heard: Hears of each step of the gate.
        hearers: Hear of what is applied.
        progress: Hears of backup and rehearsal.

    Raises:
        RefusedError: A step of the gate was not passed; the text says why and the way on.
        OpsError: A step could not be tried.
    """
    dsn, hearers = settings.require("owner_dsn"), hearers or Hearers()
    with connected(dsn) as connection:
        ledger = application_ledger(connection).schema
        with exclusive(connection, ledger, _LOCK, DEFAULT_PATIENCE):
            settle_foreign(settings, hearers.said)
            own = apply_own(dsn, Terms(hearers))
            try:
                intent = intend(dsn, settings.migrations_dir, aim)
            except OpsError as error:
                keep_steps(connection, open_gate(connection, ledger, ""), [_refused(error)], passed=False)
                raise
            if not intent.files:
                _make_up(settings, intent, last_gate(connection, ledger), heard)
                return Passed((), tuple(own))
            new = intent.position.version == NOTHING and _is_empty(connection)
            number = open_gate(connection, ledger, intent.digest)
            gate = _Gate(settings, aim, demand or Demand(), intent, heard, hearers, progress, number, new)
            _go_through(gate)
    return Passed(tuple(gate.steps), (*own, *gate.applied))


def _refused(error: OpsError) -> GateStep:
    """That it did not even come to a plan is kept, too."""
    return GateStep("order", Outcome.FAILED, str(error), 0.0)


def _go_through(gate: _Gate) -> None:
    gate.do("order", lambda: _order(gate))
    gate.need("lint", lambda: _lint(gate))
    gate.need("backup", lambda: _backup(gate))
    gate.need("rehearsal", lambda: _rehearsal(gate))
    gate.do("approval", lambda: _approval(gate))
    gate.do("apply", lambda: _apply(gate))
    gate.need("catalogue", lambda: _catalogue(gate))
    gate.need("smoke", lambda: _smoke(gate))
    gate.end()


def _make_up(settings: Settings, intent: Intent, last: Gate | None, heard: Callable[[GateStep], None]) -> None:
    """What a run that was killed, or failed, behind its apply has not come to.

    Raises:
        RefusedError: The database is not what it should be, which then is said again with each run until it is.
    """
    known = [GateStep(**step) for step in last.steps] if last else []  # type: ignore[arg-type]
    outcomes = {step.name: step.outcome for step in known}
    came_to_apply = outcomes.get("approval", Outcome.FAILED) != Outcome.FAILED
    if last is None or last.passed or not came_to_apply or outcomes.get("apply") == Outcome.FAILED:
        return
    steps = [step for step in known if step.outcome != Outcome.FAILED]
    gate = _Gate(settings, upward(), Demand(), intent, heard, Hearers(), SILENT, last.id, new=False, steps=steps)
    entries = remembered(settings.require("owner_dsn"))[0]
    on = entries[-1].rehearsal if entries else ""
    gate.rehearsal = (
        next((each for each in rehearsals(open_repository(settings)) if each.id == on), None) if on else None
    )
    done = {step.name for step in steps}
    if gate.rehearsal is not None and "catalogue" not in done:
        gate.do("catalogue", lambda: _catalogue(gate))
    if "smoke" not in done:
        gate.do("smoke", lambda: _smoke(gate))
    gate.end()


def _is_empty(connection: Connection) -> bool:
    return connection.execute(_TABLES).fetchone() == (0,)


def _order(gate: _Gate) -> _Said:
    files = ", ".join(source.path.name for source in gate.intent.files)
    what = f"Plan {gate.intent.digest}, from version {gate.intent.position.version} to {gate.intent.end.version}"
    return Outcome.PASSED, f"{what}: {files}."


def _lint(gate: _Gate) -> _Said:
    with connected(gate.settings.require("owner_dsn")) as connection:
        major = connection.info.server_version // 10_000
    if found := lint(gate.intent.files, major):
        raise RefusedError(
            f"{first_few(list(map(str, found)))} Mend it, or write `-- squawk-ignore RULE` above the statement where "
            "it is meant to be so."
        )
    return Outcome.PASSED, f"squawk finds nothing in {counted(len(gate.intent.files), 'file')}."


def _backup(gate: _Gate) -> _Said:
    settings, progress = gate.settings, gate.progress
    oldest = utc_now() - timedelta(hours=settings.migrate_backup_hours)
    found = _newest_proved(settings)
    if found is not None and found.finished_at >= oldest:
        gate.backup = found
        return Outcome.PASSED, f"Backup {found.id} of {found.finished_at:%Y-%m-%d %H:%M} UTC is proved."
    progress.say("No proved backup is young enough: taking one.")
    taken = take_backup(settings, progress, Kind.AUTO)
    for climb in Ladder(settings, open_repository(settings), progress).climb(taken, PROVED):
        if not climb.passed:
            raise RefusedError(f"Backup {taken.id}, just taken, is not {climb.rung}: {climb.finding}")
    gate.backup = taken
    return Outcome.PASSED, f"Backup {taken.id} was taken and shown to be {PROVED}."


def _newest_proved(settings: Settings) -> Backup | None:
    try:
        repository = open_repository(settings)
    except RefusedError:
        if settings.system is not None:
            raise
        return None  # a repository that knows no cluster yet: the first backup makes it known
    return newest_proved(repository, settings.proof_days)


def _rehearsal(gate: _Gate) -> _Said:
    settings, known = gate.settings, _known_rehearsal(gate)
    done = known if known is not None and not _stranger(gate, known) else rehearse(settings, gate.aim, gate.progress)
    if not done.passed:
        raise RefusedError(
            f"Rehearsal {done.id} failed. On the copy, made from backup {done.backup_id}: {first_few(done.failures)} "
            "The database itself was not touched. Mend what is named, and try it by `ops migrate rehearse`."
        )
    if done.plan != gate.intent.digest:
        raise RefusedError("It is another plan by now than the one that was rehearsed: run this again.")
    if strange := _stranger(gate, done):
        raise RefusedError(
            f"The database is not what the copy was before the migration: {first_few(strange)} Somebody changes it by "
            "hand, or the copy lacks the last minutes: see `ops wal status`, and run this again."
        )
    gate.rehearsal = done
    seconds = sum(file.seconds for file in done.files)
    again = " earlier" if done is known else ""
    files = f"{counted(len(done.files), 'file')} in {seconds:.2f} s"
    unseen = f"; not looked at: {', '.join(done.unseen)}" if done.unseen else ""
    return Outcome.PASSED, f"Rehearsal {done.id}{again}: {files}, nothing against it{unseen}."


def _known_rehearsal(gate: _Gate) -> RehearsalRecord | None:
    oldest = utc_now() - timedelta(hours=gate.settings.rehearsal_hours)
    found = [done for done in rehearsals(open_repository(gate.settings)) if done.plan == gate.intent.digest]
    terms = terms_digest(gate.settings, gate.intent)
    newest = found[-1] if found else None
    fits = newest is not None and newest.passed and newest.at >= oldest and newest.terms == terms
    return newest if fits else None


def _stranger(gate: _Gate, done: RehearsalRecord) -> list[str]:
    """In what the database differs from what the rehearsal began with, a sentence each."""
    with connected(gate.settings.require("owner_dsn"), DEFAULT_PATIENCE) as connection:
        found = Catalogue.read(connection)
    return [f"{clause}." for clause in differences(done.catalogue_before, found.objects, found.partitions)]


def _approval(gate: _Gate) -> _Said:
    destroyed = gate.intent.destructions
    if not destroyed:
        return Outcome.NOT_NEEDED, "Nothing is destroyed."
    digest, said = gate.intent.digest, "; ".join(map(str, destroyed))
    if gate.new:
        return Outcome.NOT_NEEDED, "There is nothing yet that could be destroyed."
    if not gate.demand.approval:
        raise RefusedError(
            f"This destroys what only a backup brings back: {said}. If that is meant, approve of exactly this plan: "
            f"`--approve {digest}`, or in Dagster `approve: {digest}`."
        )
    if gate.demand.approval != digest:
        raise RefusedError(f"{gate.demand.approval} is the approval of another plan. This one is {digest}: {said}.")
    return Outcome.PASSED, f"Approved of: {said}."


def _apply(gate: _Gate) -> _Said:
    backup, rehearsal = gate.backup, gate.rehearsal
    terms = Terms(
        gate.hearers,
        agreed=gate.intent.digest,
        backup=backup.id if backup else "",
        rehearsal=rehearsal.id if rehearsal else "",
    )
    gate.applied = migrate(gate.settings.require("owner_dsn"), gate.settings.migrations_dir, gate.aim, terms)
    seconds = sum(each.seconds for each in gate.applied)
    return Outcome.PASSED, f"{counted(len(gate.applied), 'file')} in {seconds:.2f} s."


def _catalogue(gate: _Gate) -> _Said:
    expected = gate.rehearsal.catalogue_after if gate.rehearsal else {}
    with connected(gate.settings.require("owner_dsn")) as connection:
        found = Catalogue.read(connection)
    if strange := differences(expected, found.objects, found.partitions):
        clauses = first_few([f"{clause}." for clause in strange])
        raise RefusedError(f"It was applied, and the schema is not what the rehearsal made of it: {clauses} {_WAY}")
    return Outcome.PASSED, f"Each of {len(expected):,} objects is what the rehearsal made of it."


def _smoke(gate: _Gate) -> _Said:
    queries = read_smoke(gate.settings.smoke_file)
    if queries is None:
        return Outcome.NOT_NEEDED, "There is no file OPS_SMOKE_FILE."
    if faults := ask_smoke(gate.settings.require("owner_dsn"), queries):
        raise RefusedError(f"It was applied, and the application's queries say: {'; '.join(faults)}. {_WAY}")
    return Outcome.PASSED, f"{len(queries)} queries were answered as expected."
