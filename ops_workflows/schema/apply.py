"""Carrying migrations out: the project's own first, then the application's, each recorded as golang-migrate does."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ops_workflows.errors import DatabaseError, RefusedError
from ops_workflows.postgres.connection import Connection
from ops_workflows.schema.drift import digests, drift, invalid_indexes
from ops_workflows.schema.files import Migration, read_migrations
from ops_workflows.schema.foundation import lay_foundation
from ops_workflows.schema.gate_record import Gate, last_gate
from ops_workflows.schema.history import Entry, Foundation, History
from ops_workflows.schema.intent import Intent
from ops_workflows.schema.ledger import TABLE, Ledger
from ops_workflows.schema.plan import Aim, Direction, Position, Step, back, plan_up, require_version, toward, upward
from ops_workflows.schema.resume import Rest, find_rest
from ops_workflows.schema.session import DEFAULT_PATIENCE, Patience, connected, exclusive
from ops_workflows.schema.source import Source, read_source
from ops_workflows.schema.step import Site, StepRun, Watch, unwatched

OWN = Ledger("ops")
OWN_DIRECTORY = Path(__file__).parent / "ops_migrations"
FORCED = "force"
_BASELINE = "baseline"


@dataclass(frozen=True)
class Applied:
    """One step that was taken, and for how long it ran."""

    ledger: str
    """Schema whose `schema_migrations` recorded it: `ops` for the project's own, else the application's."""
    direction: Direction
    version: int
    name: str
    file: str
    seconds: float
    waited: float = 0.0
    """Of these seconds, those that went by with attempts that did not get their locks."""
    warnings: tuple[str, ...] = ()
    """What PostgreSQL warned of while the file ran."""


@dataclass(frozen=True)
class LedgerStatus:
    """Where one schema stands and what is still to be applied to it."""

    ledger: str
    position: Position
    pending: tuple[Migration, ...]


@dataclass(frozen=True)
class Status:
    """Where the database stands."""

    application: LedgerStatus
    own: LedgerStatus
    drift: tuple[str, ...] = ()
    """What files, history and catalogue do not agree on, a sentence each."""

    @property
    def current(self) -> bool:
        """Nothing is pending and nothing is broken."""
        return not self.drift and not any(part.pending or part.position.dirty for part in (self.application, self.own))


@dataclass(frozen=True)
class Hearers:
    """Who hears of a run.

    Attributes:
        applied: Of each step that was taken.
        said: Of what deserves a sentence.
    """

    applied: Callable[[Applied], None] = lambda _applied: None
    said: Callable[[str], None] = lambda _said: None


SILENT = Hearers()


@dataclass(frozen=True)
class Terms:
    """On what terms a run is made.

    Attributes:
        hearers: Who hears of it.
        patience: How long to wait for what.
        watch: Is around each statement.
        agreed: Digest of the intent that was agreed to; None where nobody was asked.
        backup: The id of the backup that it rests on.
        rehearsal: The id of the rehearsal that it rests on.
    """

    hearers: Hearers = SILENT
    patience: Patience = DEFAULT_PATIENCE
    watch: Watch = unwatched
    agreed: str | None = None
    backup: str = ""
    rehearsal: str = ""


def migrate(dsn: str, directory: Path, aim: Aim, terms: Terms | None = None) -> list[Applied]:
    """Apply the project's own migrations, then take the steps that lead the application's schema to an aim.

    Of a file that an earlier run of ours has left half done, the rest is carried out first.

    Raises:
        ConfigurationError: The folder is not one of migrations.
        RefusedError: The schema is dirty or ahead of the folder, the aim cannot be reached from there, another run
            is under way, or this is not what was agreed to.
        DatabaseError: A step failed; see `StepRun`.
    """
    terms = terms or Terms()
    application = read_migrations(directory)
    with alone(dsn, terms.patience) as (connection, ledger):
        # All is planned before anything is carried out, so that a refusal leaves everything as it was.
        intent = _intend(connection, ledger, application, aim)
        if terms.agreed not in {None, intent.digest}:
            raise RefusedError("It is another plan by now than the one that was agreed to: run this again.")
        _require_no_drift(connection, ledger, intent, application)
        done = _own(connection, terms)
        foundation = _foundation(connection, ledger, intent, terms)
        site = Site(
            connection,
            ledger,
            History(ledger.schema, foundation, there=True),
            terms.patience,
            terms.hearers.said,
            terms.watch,
        )
        if intent.rest is not None:
            done.append(_finish(site, intent.rest, terms.hearers))
        return [*done, *_take(site, intent.steps, intent.sources, terms.hearers)]


def apply_own(dsn: str, terms: Terms | None = None) -> list[Applied]:
    """Apply the project's own migrations only.

    Raises:
        RefusedError: Another migration is running, or this is no place to migrate from; see `exclusive`.
        DatabaseError: A step failed; see `StepRun`.
    """
    terms = terms or Terms()
    with alone(dsn, terms.patience) as (connection, _):
        return _own(connection, terms)


def intend(dsn: str, directory: Path, aim: Aim, *, patience: Patience = DEFAULT_PATIENCE) -> Intent:
    """What `migrate` would do now; nothing is changed or locked.

    Raises:
        ConfigurationError: The folder is not one of migrations, or a file cannot be read.
        RefusedError: As `migrate`.
        DatabaseError: PostgreSQL is unreachable or refuses us.
    """
    application = read_migrations(directory)
    with connected(dsn, patience) as connection:
        ledger = application_ledger(connection)
        intent = _intend(connection, ledger, application, aim)
        _require_no_drift(connection, ledger, intent, application)
        return intent


def migrate_up(
    dsn: str,
    directory: Path,
    *,
    limit: int | None = None,
    hearers: Hearers = SILENT,
    patience: Patience = DEFAULT_PATIENCE,
) -> list[Applied]:
    """`migrate` to the newest version, or by at most `limit` steps."""
    return migrate(dsn, directory, upward(limit), Terms(hearers, patience))


def migrate_down(
    dsn: str,
    directory: Path,
    *,
    steps: int,
    hearers: Hearers = SILENT,
    patience: Patience = DEFAULT_PATIENCE,
) -> list[Applied]:
    """`migrate` back by exactly so many steps; the project's own stay."""
    return migrate(dsn, directory, back(steps), Terms(hearers, patience))


def migrate_to(
    dsn: str,
    directory: Path,
    *,
    version: int,
    hearers: Hearers = SILENT,
    patience: Patience = DEFAULT_PATIENCE,
) -> list[Applied]:
    """`migrate` to a version, up or down."""
    return migrate(dsn, directory, toward(version), Terms(hearers, patience))


def force(dsn: str, directory: Path, *, version: int, patience: Patience = DEFAULT_PATIENCE) -> Position:
    """Record a version without running anything, and that nothing is half done; where the schema stood before.

    Raises:
        ConfigurationError: The folder is not one of migrations.
        RefusedError: The version has no file and is not -1, for none; or another migration is running.
    """
    application = read_migrations(directory)
    require_version(version, application)
    with alone(dsn, patience) as (connection, ledger):
        before = ledger.position(connection)
        _record(connection, ledger, version, FORCED)
        return before


def baseline(dsn: str, directory: Path, *, version: int, patience: Patience = DEFAULT_PATIENCE) -> None:
    """Record that a schema which was made in another way is at a version; the project's own migrations are applied.

    Raises:
        ConfigurationError: The folder is not one of migrations.
        RefusedError: Migrations have been recorded already, or the version has no file.
    """
    application = read_migrations(directory)
    require_version(version, application)
    with alone(dsn, patience) as (connection, ledger):
        position = ledger.position(connection)
        if position != Position():
            raise RefusedError(
                f"{ledger} is at version {position.version} already: a baseline is for a schema that no migration has "
                "been recorded of. To say that another version is true: `ops migrate force`."
            )
        _own(connection, Terms(patience=patience))
        _record(connection, ledger, version, _BASELINE)


def status(dsn: str, directory: Path, *, patience: Patience = DEFAULT_PATIENCE) -> Status:
    """Where the database stands, read without changing or locking anything; a dirty schema is a status, not an error.

    Raises:
        ConfigurationError: The folder is not one of migrations.
        DatabaseError: PostgreSQL is unreachable or refuses us.
    """
    application = read_migrations(directory)
    with connected(dsn, patience) as connection:
        ledger = application_ledger(connection)
        found = _status(connection, ledger, application)
        own = _status(connection, OWN, read_migrations(OWN_DIRECTORY))
        broken = [f"Index {name} is not valid: drop it, or build it anew." for name in invalid_indexes(connection)]
        return Status(found, own, (*_drift(connection, ledger, found.position, application), *broken))


def remembered(dsn: str, *, patience: Patience = DEFAULT_PATIENCE) -> tuple[list[Entry], Gate | None]:
    """What was done to the application's schema, oldest first, and the last time that somebody was at the gate.

    Raises:
        DatabaseError: PostgreSQL is unreachable or refuses us.
    """
    with connected(dsn, patience) as connection:
        ledger = application_ledger(connection).schema
        return History(ledger).entries(connection), last_gate(connection, ledger)


def server_major(dsn: str, *, patience: Patience = DEFAULT_PATIENCE) -> int:
    """The major version of the server.

    Raises:
        DatabaseError: PostgreSQL is unreachable or refuses us.
    """
    with connected(dsn, patience) as connection:
        return connection.info.server_version // 10_000


def _intend(connection: Connection, ledger: Ledger, application: Sequence[Migration], aim: Aim) -> Intent:
    position = ledger.position(connection)
    rest = find_rest(connection, position, application, History(ledger.schema))
    steps = tuple(aim(Position(rest.step.target) if rest else position, application))
    sources = tuple(read_source(step.script) for step in steps)
    system = connection.execute("SELECT system_identifier::text FROM pg_control_system()").fetchone()
    return Intent(system[0] if system else "", connection.info.dbname, ledger.schema, position, rest, steps, sources)


def _require_no_drift(connection: Connection, ledger: Ledger, intent: Intent, application: Sequence[Migration]) -> None:
    if said := _drift(connection, ledger, intent.start, application):
        raise RefusedError(
            f"{' '.join(said)} Nothing was done. If it shall be so: `ops migrate force {intent.start.version}`."
        )


def _foundation(connection: Connection, ledger: Ledger, intent: Intent, terms: Terms) -> Foundation:
    if not intent.steps:
        return Foundation()
    laid = lay_foundation(connection, ledger.schema, intent.start.version)
    return replace(laid, backup=terms.backup, rehearsal=terms.rehearsal)


def _own(connection: Connection, terms: Terms) -> list[Applied]:
    site = Site(connection, OWN, History(OWN.schema), terms.patience, terms.hearers.said)
    steps = plan_up(OWN.position(connection), read_migrations(OWN_DIRECTORY))
    return list(_take(site, steps, [read_source(step.script) for step in steps], terms.hearers))


def _take(site: Site, steps: Sequence[Step], sources: Sequence[Source], hearers: Hearers) -> Iterator[Applied]:
    if steps:
        site.ledger.create(site.connection)
    for step, source in zip(steps, sources, strict=True):
        began, run = time.monotonic(), StepRun(site, step, source)
        run.take()
        yield _report(run, began, hearers)


def _finish(site: Site, rest: Rest, hearers: Hearers) -> Applied:
    name, whole = rest.step.script.name, len(rest.source.statements)
    began, run = time.monotonic(), StepRun(site, rest.step, rest.source)
    if rest.entry is None:
        hearers.said(f"{name} failed before anything of it was done. Beginning anew.")
        run.take()
    else:
        hearers.said(
            f"{name} was left half done: {rest.done} of its {whole} statements have been carried out. Going on."
        )
        run.finish_piecewise(rest.entry, rest.done)
    return _report(run, began, hearers)


def _report(run: StepRun, began: float, hearers: Hearers) -> Applied:
    migration, ledger = run.step.migration, run.site.ledger.schema
    seconds = time.monotonic() - began
    step, file = run.step, run.source.path.name
    applied = Applied(
        ledger, step.direction, migration.version, migration.name, file, seconds, run.waited, run.warnings
    )
    hearers.applied(applied)
    return applied


def _record(connection: Connection, ledger: Ledger, version: int, how: str) -> None:
    with connection.transaction():
        ledger.create(connection)
        ledger.record(connection, Position(version))
        History(ledger.schema).add(connection, version, how)


def _status(connection: Connection, ledger: Ledger, migrations: Iterable[Migration]) -> LedgerStatus:
    position = ledger.position(connection)
    pending = tuple(migration for migration in migrations if migration.version > position.version)
    return LedgerStatus(ledger.schema, position, pending)


def _drift(connection: Connection, ledger: Ledger, position: Position, application: Sequence[Migration]) -> list[str]:
    return drift(position, application, digests(application), History(ledger.schema).entries(connection))


@contextmanager
def alone(dsn: str, patience: Patience = DEFAULT_PATIENCE) -> Iterator[tuple[Connection, Ledger]]:
    """A connection that nobody else migrates beside, and where the application's version is recorded.

    Raises:
        RefusedError: Another migration is running, or this is no place to migrate from; see `exclusive`.
    """
    with connected(dsn, patience) as connection:
        ledger = application_ledger(connection)
        with exclusive(connection, ledger.schema, TABLE, patience):
            yield connection, ledger


def application_ledger(connection: Connection) -> Ledger:
    """Where the version of the application's schema is recorded: in the first schema of the search path.

    Raises:
        DatabaseError: There is none.
    """
    row = connection.execute("select current_schema()").fetchone()
    if row is None or row[0] is None:
        raise DatabaseError("The search_path names no existing schema to migrate: set it on the role or the database.")
    return Ledger(row[0])
