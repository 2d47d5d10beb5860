"""What the restore of this backup must hold: the schema and the row counts of its source, with what is certain of them.

A backup's state is that of its stop LSN, at which nobody can count. So snapshots are taken while it runs; of those that
lie before the stop LSN the last one is kept (`settled`), and when the backup has ended, the tables are counted. If no
transaction wrote in between, the counts are exactly the backup's. Otherwise rows that `settled` saw and that are still
untouched now must have been there at the stop LSN too: a lower bound, and a sound one.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from ops_workflows.errors import DatabaseError
from ops_workflows.postgres.connection import Connection, connect
from ops_workflows.postgres.inventory import Snapshot, count, databases, schema, tables
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.progress import Progress
from ops_workflows.repository.backup import RowsRecord, TableRows, utc_now
from ops_workflows.settings import Settings

_LOCK_SECONDS = 5  # a table that is locked for longer is left uncounted: a backup must never queue up behind a lock


class Expectations:
    """Collects, from before a backup to after it, what its restore must hold.

    Args:
        settings: For the connections' bounds.
        dsn: Of the role that backs up; it can read all data.
        connection: One that stays open while the backup runs.
    """

    def __init__(self, settings: Settings, dsn: str, connection: Connection) -> None:
        self._settings = settings
        self._dsn = dsn
        self._connection = connection
        self._snapshots = [Snapshot.take(connection)]
        self._schema_before: dict[str, dict[str, str]] = {}
        self._unreached: dict[str, str] = {}
        for database in databases(connection):
            try:
                with self._connect(database) as inside:
                    self._schema_before[database] = schema(inside)
            except DatabaseError as error:  # a database that lets this role not in is backed up all the same
                self._unreached[database] = str(error)

    def sample(self) -> None:
        """Note the present snapshot; to be called every now and then while the backup runs."""
        self._snapshots.append(Snapshot.take(self._connection))

    def count(self, stop: Lsn, progress: Progress) -> RowsRecord | None:
        """Count, now that the backup has ended.

        Args:
            stop: Where it ended.
            progress: Hears of each table, and of each database that could not be counted.

        Returns:
            None where nothing certain can be said: no snapshot lies before the backup's end, or no database answers.
        """
        before_the_end = [taken for taken in self._snapshots if taken.lsn <= stop]
        settled = max(before_the_end, key=lambda taken: taken.lsn, default=None)
        counting = _Counting(settled, progress) if settled is not None else None
        progress.begin("count rows", None, "tables")
        for database, before in self._schema_before.items():
            try:
                with self._connect(database) as inside, inside.transaction():
                    if counting is not None:
                        counting.count(database, inside, before)
            except DatabaseError as error:
                self._unreached[database] = str(error)
        for database, trouble in self._unreached.items():
            progress.say(f"The rows of database {database} are not counted, so its restore is not compared: {trouble}")
        if counting is None or not counting.schemas:
            return None
        return counting.record([f"{database}: every table" for database in self._unreached])

    @contextmanager
    def _connect(self, database: str) -> Iterator[Connection]:
        timeout = self._settings.connect_timeout_seconds
        with connect(self._dsn, timeout=timeout, statement_seconds=0, dbname=database) as connection:
            yield connection


class _Counting:
    """What has been counted so far."""

    def __init__(self, settled: Snapshot, progress: Progress) -> None:
        self._settled = settled
        self._progress = progress
        self._exact = True
        self._counted: list[TableRows] = []
        self._uncounted: list[str] = []
        self._changing: dict[str, tuple[str, ...]] = {}
        self.schemas: dict[str, dict[str, str]] = {}

    def count(self, database: str, inside: Connection, before: dict[str, str]) -> None:
        """Count a database's tables in a transaction of their own, all on one snapshot."""
        inside.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        now = Snapshot.take(inside)
        quiet = self._settled.quiet and now.quiet and now.next_transaction == self._settled.next_transaction
        after = schema(inside)
        changing = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
        inside.execute(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'")
        counted: list[TableRows] = []
        for table in tables(inside):
            rows = count(inside, table, None if quiet else self._settled)
            if rows is None:
                self._uncounted.append(f"{database}: {table}")
            else:
                counted.append(TableRows(database=database, table=table, rows=rows))
            self._progress.advance(len(self._counted) + len(counted))
        self._exact = self._exact and quiet
        self._counted += counted
        self.schemas[database] = {key: value for key, value in after.items() if before.get(key) == value}
        if changing:
            self._changing[database] = tuple(changing)

    def record(self, uncounted: list[str]) -> RowsRecord:
        """All of it."""
        return RowsRecord(
            exact=self._exact,
            counted_at=utc_now(),
            tables=tuple(self._counted),
            uncounted=tuple(self._uncounted + uncounted),
            schemas=self.schemas,
            changing=self._changing,
        )
