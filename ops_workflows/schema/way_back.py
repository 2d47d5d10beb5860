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
from ops_workflows.schema.source import read_source
from ops_workflows.settings import Settings
from ops_workflows.wording import counted, first_few

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
        faults = [f"Back at version {intent.start.version}, {each}." for each in differences(before, copy.catalogue())]
        if not faults:
            migrate(copy.owner, folder, end)
            again = differences(after, copy.catalogue())
            faults = [f"Again at version {intent.end.version}, {each}." for each in again]
    except (DatabaseError, RefusedError) as error:
        faults = [f"The way back fails: {error}"]
    good = f"Back to version {intent.start.version} and again to {intent.end.version}, the schema is the same."
    yield RehearsalCheck(name="way back", passed=not faults, finding=first_few(faults) or good)


def data_comes_back(copy: DatabaseCopy, folder: Path, intent: Intent, settings: Settings) -> RehearsalCheck:
    """Go each step there and back whose down file promises that the rows come back, and compare every row.

    Args:
        copy: As it is before what is rehearsed, without traffic; so it is left, where the promises are kept.
        folder: Of the migrations.
        intent: What is rehearsed.
        settings: How large a table is hashed whole.
    """
    ups = [step for step in intent.steps if step.direction is Direction.UP]
    promised = [step.migration.version for step in ups if _promises(step.migration)]
    if not promised:
        return RehearsalCheck(name="data", passed=None, finding="Not run: no down file promises that rows come back.")
    lacking = [step.migration.up.name for step in ups if step.migration.down is None]
    if lacking or intent.rest is not None:
        why = f"{', '.join(lacking)} cannot be undone" if lacking else "an earlier file is only half done"
        return RehearsalCheck(name="data", passed=None, finding=f"Not run: {why}, so there is no way to try it.")
    faults, tables, at = list[str](), 0, intent.start.version
    try:
        for step in ups:
            if step.migration.version in promised:
                contents = _contents(copy, settings)
                tables = max(tables, len(contents))
                migrate(copy.owner, folder, toward(step.target))
                migrate(copy.owner, folder, toward(at))
                faults += [f"{clause}, back from {step.migration.up.name}." for clause in _differ(copy, contents)]
            migrate(copy.owner, folder, toward(step.target))
            at = step.target
        migrate(copy.owner, folder, toward(intent.start.version))
    except OpsError as error:
        return RehearsalCheck(name="data", passed=False, finding=f"The rows could not be compared: {error}")
    good = f"There and back, each of {counted(tables, 'table')} has its rows as they were."
    return RehearsalCheck(name="data", passed=not faults, finding=first_few(faults) or good)


def _differ(copy: DatabaseCopy, contents: Contents) -> list[str]:
    with connect(copy.superuser, statement_seconds=0) as connection:
        fingerprint.settle(connection)
        found = [fingerprint.difference(connection, name, *expected) for name, expected in contents.items()]
    return [clause for clause in found if clause]


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
