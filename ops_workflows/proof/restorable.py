"""`restorable`: a dump loads into an empty server without an error, and every table holds what it held when dumped."""

import time

from ops_workflows.errors import DatabaseError, IntegrityError
from ops_workflows.postgres.connection import connect
from ops_workflows.postgres.fingerprint import difference, settle
from ops_workflows.postgres.server import Server
from ops_workflows.progress import SILENT, Progress
from ops_workflows.repository.backup import utc_now
from ops_workflows.repository.dump import Dump, DumpedTable
from ops_workflows.repository.dumps import Dumps
from ops_workflows.repository.proofs import Proof, record
from ops_workflows.restore.load import loaded
from ops_workflows.settings import Settings
from ops_workflows.storage.fetch import fetch

RESTORABLE = "restorable"
_MOST_FAULTS = 5  # that a finding names


def restorable(settings: Settings, dumps: Dumps, dump: Dump, progress: Progress = SILENT) -> Proof:
    """Try it, database by database, and record the attempt, passed or not.

    Raises:
        ConfigurationError: This machine cannot run such a server, so nothing is known and nothing is recorded.
        RefusedError: Its programs are too old for the dump, likewise.
        StorageError: The bucket did not answer, likewise.
    """
    at, began = utc_now(), time.monotonic()
    try:
        _require_what_no_database_needs(dumps, dump)
        expected = dumps.fingerprint(dump)
        faults = []
        for database in dump.databases:
            with loaded(settings, dumps, dump, database.name, progress=progress) as server:
                tables = expected.databases.get(database.name, ())
                faults += _differences(server, database.name, tables, progress)
    except (IntegrityError, DatabaseError) as error:
        finding, passed = str(error), False
    else:
        passed = not faults
        finding = (
            f"It loads; {dump.tables:,} tables with {dump.rows:,} rows hold what they held."
            if passed
            else f"What was loaded differs: {_listed(faults)}."
        )
    proof = Proof(
        backup_id=dump.id,
        what=RESTORABLE,
        passed=passed,
        finding=finding,
        at=at,
        seconds=time.monotonic() - began,
        evidence={"databases": len(dump.databases), "tables": dump.tables, "rows": dump.rows},
    )
    record(dumps.repository, proof)
    return proof


def _require_what_no_database_needs(dumps: Dumps, dump: Dump) -> None:
    """See to it that roles, settings and fingerprint, which no loading reads, are what was stored."""
    read = {database.object for database in dump.databases}
    for stored in dump.objects:
        if stored.name not in read:
            key = dumps.key(dump.id, stored.name)
            for _ in fetch(dumps.repository.store, key, size=stored.size, sha256=stored.sha256, threads=1):
                pass


def _differences(server: Server, database: str, tables: tuple[DumpedTable, ...], progress: Progress) -> list[str]:
    faults = []
    progress.begin(f"compare {database}", len(tables), "tables")
    with connect(server.dsn(database), statement_seconds=0) as connection:
        settle(connection)
        for done, held in enumerate(tables, start=1):
            fault = difference(connection, held.table.quoted, held.table.columns, held.content)
            if fault is not None:
                faults.append(f"{database}: {fault}")
            progress.advance(done)
    return faults


def _listed(faults: list[str]) -> str:
    more = f"; and {len(faults) - _MOST_FAULTS} more" if len(faults) > _MOST_FAULTS else ""
    return "; ".join(faults[:_MOST_FAULTS]) + more
