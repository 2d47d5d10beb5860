"""`booted`: PostgreSQL starts from the backup, every table can be read to its end, and what is there is what was there.

“Read” means each row with all its columns, so out-of-line values are fetched and decompressed too: the server copies
every table to /dev/null. Row counts and schema are compared with what was counted on the source (`rows.json`).
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue

import psycopg

from ops_workflows.errors import DatabaseError, IntegrityError
from ops_workflows.postgres.connection import connect
from ops_workflows.postgres.inventory import databases, read_whole, schema, tables
from ops_workflows.postgres.server import Server
from ops_workflows.progress import SILENT, Progress
from ops_workflows.proof.rungs import Climb, Rung
from ops_workflows.repository.backup import Backup, RowsRecord
from ops_workflows.repository.catalogue import Repository
from ops_workflows.restore import run
from ops_workflows.restore.scratch import scratch
from ops_workflows.settings import Settings

_READERS = 2
_MOST_FAULTS = 5  # that a finding names

Table = tuple[str, str]  # database, quoted schema.name


def booted(settings: Settings, repository: Repository, backup: Backup, progress: Progress = SILENT) -> Climb:
    """Restore into a scratch server, read everything, compare, and leave nothing behind.

    Raises:
        ConfigurationError: This machine cannot run such a server, so nothing is known.
        StorageError: The bucket did not answer, so nothing is known.
        RefusedError: There is no room for it, so nothing is known.
    """
    expected = repository.rows(backup)
    with scratch(settings, backup.major, progress) as folder:
        try:
            plan = run.plan(backup, folder / "data", chain=repository.chain(backup))
            restored = run.restore(settings, repository, plan, progress)
            with run.running(settings, restored, progress) as server, restored.phase("read every table"):
                found = read_everything(server, backup.superuser, progress)
                faults = list(differences(expected, found, schemas(server, backup.superuser)) if expected else ())
        except (IntegrityError, DatabaseError) as error:
            return Climb(Rung.BOOTED, False, str(error), {})
    rows = sum(found.values())
    figures: dict[str, float | int | str] = {"tables": len(found), "rows": rows, "compared": compared(expected)}
    figures |= {f"seconds: {phase}": round(seconds, 3) for phase, seconds in restored.seconds.items()}
    if faults:
        return Climb(Rung.BOOTED, False, "The restored database differs. " + _listed(faults), figures)
    if expected is None:
        finding = "It starts and can be read, but its rows were not counted at the source, so nothing was compared."
        return Climb(Rung.BOOTED, False, finding, figures)
    finding = (
        f"It starts; {len(found):,} tables with {rows:,} rows were read and are as expected ({compared(expected)})."
    )
    if expected.uncounted:
        figures["uncounted"] = len(expected.uncounted)
        finding += f" Not counted at the source, so only read: {_listed(list(expected.uncounted))}"
    return Climb(Rung.BOOTED, True, finding, figures)


def read_everything(server: Server, superuser: str, progress: Progress = SILENT) -> dict[Table, int]:
    """Read every row of every table of a server.

    Returns:
        By database and table, how many rows it gave.

    Raises:
        DatabaseError: A table cannot be read to its end; the text names it.
    """
    found: dict[Table, int] = {}
    with connect(server.dsn("postgres", superuser)) as connection:
        names = databases(connection)
    progress.begin("read every table", None, "tables")
    for database in names:
        with connect(server.dsn(database, superuser)) as connection:
            waiting: SimpleQueue[str] = SimpleQueue()
            for table in tables(connection):
                waiting.put(table)
        read = partial(_read, server.dsn(database, superuser), database, waiting)
        with ThreadPoolExecutor(_READERS) as pool:
            for reader in [pool.submit(read) for _ in range(_READERS)]:
                found |= reader.result()
        progress.advance(len(found))
    return found


def _read(dsn: str, database: str, waiting: "SimpleQueue[str]") -> dict[Table, int]:
    found: dict[Table, int] = {}
    with connect(dsn, statement_seconds=0) as connection, suppress(Empty):
        while table := waiting.get_nowait():
            try:
                found[database, table] = read_whole(connection, table)
            except psycopg.errors.ObjectNotInPrerequisiteState:
                continue  # a materialized view that nobody has filled yet: there is nothing to read
            except psycopg.Error as error:
                said = " ".join(str(error).split())
                raise DatabaseError(
                    f"Table {table} of database {database} cannot be read to its end: {said}."
                ) from error
    return found


def schemas(server: Server, superuser: str) -> dict[str, dict[str, str]]:
    """Of every database, each object's identity and its definition's digest."""
    with connect(server.dsn("postgres", superuser)) as connection:
        names = databases(connection)
    found = {}
    for database in names:
        with connect(server.dsn(database, superuser)) as connection:
            found[database] = schema(connection)
    return found


def compared(expected: RowsRecord | None) -> str:
    """How strictly rows are compared, in words."""
    if expected is None:
        return "not at all"
    return "exactly" if expected.exact else "from below: writes went on while the backup ran"


def differences(expected: RowsRecord, found: dict[Table, int], schemas: dict[str, dict[str, str]]) -> Iterable[str]:
    """What a restored server lacks, or has besides, against what was expected: a clause for each."""
    for table in expected.tables:
        rows = found.get((table.database, table.table))
        if rows is None:
            if not _is_changing(expected, table.database, table.table):
                yield f"{table.table} of {table.database} is missing"
        elif rows < table.rows or (expected.exact and rows != table.rows):
            least = "" if expected.exact else "at least "
            yield f"{table.table} of {table.database} has {rows:,} rows and not {least}{table.rows:,}"
    for database, objects in expected.schemas.items():
        there = schemas.get(database)
        if there is None:
            yield f"database {database} is missing"
            continue
        changing = set(expected.changing.get(database, ()))
        yield from (f"{name} of {database} is missing" for name in objects.keys() - there.keys())
        yield from (f"{name} of {database} is unexpected" for name in there.keys() - objects.keys() - changing)
        yield from (
            f"{name} of {database} differs" for name in objects.keys() & there.keys() if objects[name] != there[name]
        )


def _is_changing(expected: RowsRecord, database: str, table: str) -> bool:
    return f"relation {table}" in expected.changing.get(database, ())


def _listed(faults: list[str]) -> str:
    more = f"; and {len(faults) - _MOST_FAULTS} more" if len(faults) > _MOST_FAULTS else ""
    return "; ".join(faults[:_MOST_FAULTS]) + more + "."
