"""The way back, tried on a copy: the schema afterwards, and the rows where the files promise them."""

from collections.abc import Iterator
from pathlib import Path

from ops_workflows.errors import DatabaseError, OpsError, RefusedError
from ops_workflows.postgres import fingerprint
from ops_workflows.postgres.connection import connect
from ops_workflows.repository.rehearsals import RehearsalCheck
from ops_workflows.schema.apply import migrate
from ops_workflows.schema.catalogue import differences
from ops_workflows.schema.copy import DatabaseCopy
from ops_workflows.schema.files import Migration
from ops_workflows.schema.intent import Intent
from ops_workflows.schema.plan import Direction, toward
from ops_workflows.schema.reference import Catalogue
from ops_workflows.schema.source import read_source
from ops_workflows.settings import Settings

_MOST_NAMED = 5
type Contents = dict[str, tuple[tuple[str, ...], fingerprint.Content]]


def way_back(
    copy: DatabaseCopy,
    folder: Path,
    intent: Intent,
    before: dict[str, str],
    after: dict[str, str],
) -> Iterator[RehearsalCheck]:
    """Go back and there again.

    Args:
        copy: At the end of what was rehearsed, without traffic.
        folder: Of the migrations.
        intent: What was rehearsed.
        before: The catalogue before it.
        after: And after it.
    """
    lacking = [
        step.migration.up.name
        for step in intent.steps
        if step.direction is Direction.UP and step.migration.down is None
    ]
    if lacking or not intent.steps:
        why = f"{', '.join(lacking)} cannot be undone: there is no down file." if lacking else "Nothing to undo."
        yield RehearsalCheck(name="way back", passed=None, finding=why)
        return
    start, end = toward(intent.start.version), toward(intent.end.version)
    try:
        migrate(copy.owner, folder, start)
        faults = [f"Back at version {intent.start.version}, {each}." for each in differences(before, _catalogue(copy))]
        if not faults:
            migrate(copy.owner, folder, end)
            again = differences(after, _catalogue(copy))
            faults = [f"Again at version {intent.end.version}, {each}." for each in again]
    except (DatabaseError, RefusedError) as error:
        faults = [f"The way back fails: {error}"]
    good = f"Back to version {intent.start.version} and again to {intent.end.version}, the schema is the same."
    more = f" And {len(faults) - _MOST_NAMED} more." if len(faults) > _MOST_NAMED else ""
    finding = " ".join(faults[:_MOST_NAMED]) + more if faults else good
    yield RehearsalCheck(name="way back", passed=not faults, finding=finding)


def data_comes_back(copy: DatabaseCopy, folder: Path, intent: Intent, settings: Settings) -> RehearsalCheck | None:
    """Go there and back, and compare every row, where each of the down files promises that they come back.

    Args:
        copy: As it is before what is rehearsed, without traffic; so it is left where the promise is kept.
        folder: Of the migrations.
        intent: What is rehearsed.
        settings: How large a table is hashed whole.

    Returns:
        None where it is not promised.
    """
    ups = [step.migration for step in intent.steps if step.direction is Direction.UP]
    if not ups or not all(map(_promises, ups)):
        return None
    contents = _contents(copy, settings)
    try:
        for version in (intent.end.version, intent.start.version):
            migrate(copy.owner, folder, toward(version))
        with connect(copy.superuser, statement_seconds=0) as connection:
            fingerprint.settle(connection)
            found = {
                name: fingerprint.difference(connection, name, columns, expected)
                for name, (columns, expected) in contents.items()
            }
    except OpsError as error:
        return RehearsalCheck(name="data", passed=False, finding=f"The rows could not be compared: {error}")
    faults = [clause for clause in found.values() if clause]
    good = f"There and back, each of {len(contents)} tables has its rows as they were."
    return RehearsalCheck(
        name="data", passed=not faults, finding="; ".join(faults[:_MOST_NAMED]) + "." if faults else good
    )


def _promises(migration: Migration) -> bool:
    return migration.down is not None and read_source(migration.down).restores_data


def _contents(copy: DatabaseCopy, settings: Settings) -> Contents:
    with connect(copy.superuser, statement_seconds=0) as connection:
        fingerprint.settle(connection)
        return {
            table.quoted: (
                table.columns,
                fingerprint.content(connection, table.quoted, table.columns, most_bytes=settings.dump_hash_max_bytes),
            )
            for table in fingerprint.tables(connection)
            if table.namespace != "ops" and table.name != "schema_migrations"
        }


def _catalogue(copy: DatabaseCopy) -> dict[str, str]:
    with connect(copy.superuser) as connection:
        return Catalogue.read(connection).objects
