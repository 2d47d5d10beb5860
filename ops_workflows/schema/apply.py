"""Carrying migrations out: the project's own first, then the application's, each recorded as golang-migrate does."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ops_workflows.errors import DatabaseError
from ops_workflows.postgres.connection import Connection
from ops_workflows.schema.files import Migration, read_migrations
from ops_workflows.schema.ledger import TABLE, Ledger
from ops_workflows.schema.plan import Direction, Position, Step, plan_down, plan_up
from ops_workflows.schema.script import run_script
from ops_workflows.schema.session import DEFAULT_PATIENCE, Patience, connected, exclusive

OWN = Ledger("ops")
OWN_DIRECTORY = Path(__file__).parent / "ops_migrations"


@dataclass(frozen=True)
class Applied:
    """One step that was taken, and for how long it ran."""

    ledger: str
    """Schema whose `schema_migrations` recorded it: `ops` for the project's own, else the application's."""
    direction: Direction
    version: int
    name: str
    seconds: float
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

    @property
    def current(self) -> bool:
        """Nothing is pending and nothing is broken."""
        return not any(part.pending or part.position.dirty for part in (self.application, self.own))


type Report = Callable[[Applied], None]


def migrate_up(
    dsn: str,
    directory: Path,
    *,
    limit: int | None = None,
    report: Report | None = None,
    patience: Patience = DEFAULT_PATIENCE,
) -> list[Applied]:
    """Apply the project's own migrations, then the application's from `directory`, at most `limit` of the latter.

    Raises:
        ConfigurationError: The folder is not one of migrations.
        RefusedError: The schema is dirty or ahead of the folder, or another migration is running.
        DatabaseError: A step failed; its version is left marked dirty.
    """
    own, application = read_migrations(OWN_DIRECTORY), read_migrations(directory)
    with _alone(dsn, patience) as (connection, ledger):
        # Both are planned before either is carried out, so that a refusal leaves everything as it was.
        own_steps = plan_up(OWN.position(connection), own)
        steps = plan_up(ledger.position(connection), application, limit)
        return [
            *_take(connection, OWN, own_steps, report),
            *_take(connection, ledger, steps, report),
        ]


def migrate_down(
    dsn: str,
    directory: Path,
    *,
    steps: int,
    report: Report | None = None,
    patience: Patience = DEFAULT_PATIENCE,
) -> list[Applied]:
    """Undo the newest `steps` migrations of the application; the project's own stay.

    Raises:
        ConfigurationError: The folder is not one of migrations.
        RefusedError: The schema is dirty or ahead of the folder, has fewer steps, or one of them has no way back.
        DatabaseError: A step failed; the version before it is left marked dirty.
    """
    application = read_migrations(directory)
    with _alone(dsn, patience) as (connection, ledger):
        return list(_take(connection, ledger, plan_down(ledger.position(connection), application, steps), report))


def status(dsn: str, directory: Path, *, patience: Patience = DEFAULT_PATIENCE) -> Status:
    """Where the database stands, read without changing or locking anything; a dirty schema is a status, not an error.

    Raises:
        ConfigurationError: The folder is not one of migrations.
        DatabaseError: PostgreSQL is unreachable or refuses us.
    """
    application = read_migrations(directory)
    with connected(dsn, patience) as connection:
        return Status(
            _status(connection, _application_ledger(connection), application),
            _status(connection, OWN, read_migrations(OWN_DIRECTORY)),
        )


def _status(connection: Connection, ledger: Ledger, migrations: Iterable[Migration]) -> LedgerStatus:
    position = ledger.position(connection)
    pending = tuple(migration for migration in migrations if migration.version > position.version)
    return LedgerStatus(ledger.schema, position, pending)


@contextmanager
def _alone(dsn: str, patience: Patience) -> Iterator[tuple[Connection, Ledger]]:
    with connected(dsn, patience) as connection:
        ledger = _application_ledger(connection)
        with exclusive(connection, ledger.schema, TABLE, patience):
            yield connection, ledger


def _application_ledger(connection: Connection) -> Ledger:
    row = connection.execute("select current_schema()").fetchone()
    if row is None or row[0] is None:
        raise DatabaseError("The search_path names no existing schema to migrate: set it on the role or the database.")
    return Ledger(row[0])


def _take(connection: Connection, ledger: Ledger, steps: list[Step], report: Report | None) -> Iterator[Applied]:
    if steps:
        ledger.create(connection)
    for step in steps:
        began = time.monotonic()
        ledger.record(connection, Position(step.target, dirty=True))
        try:
            warnings = run_script(connection, step.script)
        except DatabaseError as error:
            raise DatabaseError(
                f"{error} {ledger.schema}.{TABLE} is left at version {step.target}, marked dirty: see what the file "
                "left, complete or undo that by hand, then set version and dirty = false there."
            ) from error
        ledger.record(connection, Position(step.target))
        migration, seconds = step.migration, time.monotonic() - began
        applied = Applied(ledger.schema, step.direction, migration.version, migration.name, seconds, warnings)
        if report:
            report(applied)
        yield applied
