"""What the files, the history and the catalogue do not agree on: a pure function, and what it asks of the catalogue."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ops_workflows.errors import ConfigurationError
from ops_workflows.postgres.connection import Connection
from ops_workflows.schema.files import Migration
from ops_workflows.schema.history import Entry, Result
from ops_workflows.schema.plan import Position

_INVALID = """
    SELECT format('%I.%I', n.nspname, c.relname)
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT i.indisvalid AND n.nspname NOT IN ('pg_catalog', 'pg_toast')
      -- Of a partitioned table an index is invalid until each partition has one: that is a way of building it.
      AND c.relkind = 'i'
    ORDER BY 1"""


def drift(
    position: Position, migrations: Sequence[Migration], digests: Mapping[int, str], entries: Sequence[Entry]
) -> list[str]:
    """What speaks against the schema being what the files say, a sentence each.

    Args:
        position: Where the schema stands.
        migrations: The files.
        digests: SHA-256 of each up file, by its version.
        entries: The history, oldest first; what was done before it began is not known.
    """
    return list(_drift(position, migrations, digests, entries))


def digests(migrations: Sequence[Migration]) -> dict[int, str]:
    """SHA-256 of each up file, by its version.

    Raises:
        ConfigurationError: One cannot be read.
    """
    return {migration.version: _digest(migration.up) for migration in migrations}


def invalid_indexes(connection: Connection) -> list[str]:
    """Indexes that are kept up to date and never used: what an interrupted CREATE INDEX CONCURRENTLY leaves."""
    return [str(name) for (name,) in connection.execute(_INVALID)]


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigurationError(f"The migration {path} cannot be read: {error.strerror}.") from None


def _drift(
    position: Position, migrations: Sequence[Migration], digests: Mapping[int, str], entries: Sequence[Entry]
) -> Iterator[str]:
    applied, since = _known(entries)
    files = {migration.version: migration for migration in migrations}
    for version, entry in applied.items():
        if version > position.version:
            continue
        if version not in files:
            when = f"{entry.started_at:%Y-%m-%d}"
            yield f"Migration {version} was applied on {when} and has no file any more: bring it back."
        elif digests[version] != entry.sha256:
            yield (
                f"{files[version].up.name} has been altered since it was applied on {entry.started_at:%Y-%m-%d}: bring "
                "it back as it was, and put the change into a new migration."
            )
    for version, migration in files.items():
        if since is not None and since < version < position.version and version not in applied:
            yield (
                f"{migration.up.name} was added after later ones had been applied, and will never be: renumber it "
                f"above {position.version}."
            )


def _known(entries: Sequence[Entry]) -> tuple[dict[int, Entry], int | None]:
    """What is applied as far as the history knows, and the version behind which it knows all; None if it knows none."""
    applied: dict[int, Entry] = {}
    since: int | None = None
    for entry in entries:
        if entry.result != Result.APPLIED:
            continue
        if entry.direction in {"force", "baseline"}:
            applied, since = {}, entry.version
        elif entry.direction == "down":
            applied.pop(entry.version, None)
            since = None if since is None else min(since, entry.version - 1)
        else:
            applied[entry.version] = entry
            since = entry.version - 1 if since is None else since
    return applied, since
