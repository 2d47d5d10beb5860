"""What the restore of this backup must hold: the schema and the row counts of its source, with what is certain of them.

A backup's state is that of its stop LSN, at which nobody can look. So snapshots are taken while it runs; of those that
lie before the stop LSN the newest is `settled`, and when the backup has ended, the tables are counted. The transactions
from the oldest that `settled` does not know the end of, up to the newest that has begun when all is counted, are
`undecided`: whether one of them had committed at the stop LSN is unknown.

If there are none, nothing has changed in between, and what is found is exactly the backup's. Otherwise what is found
and none of them has touched must have been there at the stop LSN, too: rows, and objects whose definition is what it
was before the backup. Nothing is known of an object that was made and dropped in between, or altered and altered back:
the one leaves no trace, and the other is told by its catalog rows, which are new.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from ops_workflows.backup.lock import stay
from ops_workflows.errors import DatabaseError
from ops_workflows.postgres import inventory
from ops_workflows.postgres.connection import Connection, connect
from ops_workflows.postgres.inventory import Snapshot
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.progress import Progress
from ops_workflows.repository.backup import RowsRecord, TableRows, utc_now
from ops_workflows.settings import Settings

_LOCK_SECONDS = 5  # a table that is locked for longer is left uncounted: a backup must never queue up behind a lock
_MOST_SNAPSHOTS = 512


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
        stay(connection)
        self._snapshots = Snapshots()
        self.sample()
        self._schema_before: dict[str, dict[str, str]] = {}
        self._unreached: dict[str, str] = {}
        for database in inventory.databases(connection):
            try:
                with self._connect(database) as inside:
                    self._schema_before[database] = inventory.schema(inside)
            except DatabaseError as error:  # a database that lets this role not in is backed up all the same
                self._unreached[database] = str(error)

    def sample(self) -> None:
        """Note the present snapshot, unless so many are kept that this one is not needed.

        To be called every now and then while the backup runs.
        """
        if self._snapshots.is_due():
            self._snapshots.keep(Snapshot.take(self._connection))

    def count(self, stop: Lsn, progress: Progress) -> RowsRecord | None:
        """Count, now that the backup has ended.

        Args:
            stop: Where it ended.
            progress: Hears of each table, and of each database that could not be counted.

        Returns:
            None where nothing certain can be said: no snapshot lies before the backup's end, or no database answers.
        """
        settled = self._snapshots.newest(stop)
        if settled is None:
            # A standby may have replayed more before the backup than a restore of it needs, if it has not written it.
            progress.say(f"The rows are not counted, so a restore is not compared: all that was seen is after {stop}.")
            return None
        counting = _Counting(settled, progress)
        progress.begin("count rows", None, "tables")
        for database, before in self._schema_before.items():
            try:
                with self._connect(database) as inside:
                    counting.count(database, inside, before)
            except DatabaseError as error:
                self._unreached[database] = str(error)
        for database, trouble in self._unreached.items():
            progress.say(f"The rows of database {database} are not counted, so its restore is not compared: {trouble}")
        if not counting.schemas:
            return None
        return counting.record([f"{database}: every table" for database in self._unreached])

    @contextmanager
    def _connect(self, database: str) -> Iterator[Connection]:
        bounds = {"timeout": self._settings.connect_timeout_seconds, "statement_seconds": self._settings.stall_seconds}
        with connect(self._dsn, **bounds, dbname=database) as connection:
            stay(connection)
            yield connection


class Snapshots:
    """Those of a whole backup, in their order; of a long one so few that its length costs no memory.

    When there are too many, every other one is dropped, and from then on only every other one is due: they stay spread
    evenly, so that the newest before any moment of the backup is not much older than that moment.
    """

    def __init__(self) -> None:
        self._kept: list[Snapshot] = []
        self._asked = 0
        self._every = 1

    def __len__(self) -> int:
        return len(self._kept)

    def is_due(self) -> bool:
        """Whether the present one is to be kept, too."""
        self._asked += 1
        return (self._asked - 1) % self._every == 0

    def keep(self, snapshot: Snapshot) -> None:
        """One more, the newest."""
        self._kept.append(snapshot)
        if len(self._kept) >= _MOST_SNAPSHOTS:
            del self._kept[1::2]
            self._every *= 2

    def newest(self, stop: Lsn) -> Snapshot | None:
        """The newest that certainly lies before a place in the log, as do the commits of all that had ended then."""
        return next((taken for taken in reversed(self._kept) if taken.lsn <= stop), None)


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
        """Count a database's tables on one snapshot, and look then at what it consists of.

        Args:
            database: Its name.
            inside: A connection to it.
            before: The digests of its objects' definitions before the backup.

        Raises:
            DatabaseError: It may not be the one that had this name when the backup ended.
        """
        found: dict[str, int | None] = {}
        with inside.transaction():
            undecided = self._undecided(inside)
            inside.execute(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'")
            for table in inventory.tables(inside):
                found[table] = inventory.count(inside, table, undecided)
                self._progress.advance(len(self._counted) + len(found))
        # All the rest is judged by a second snapshot, which the counting lies before. The first one does not keep a
        # table from being truncated meanwhile, nor a name from passing to another table.
        with inside.transaction():
            undecided = self._undecided(inside)
            if not inventory.is_database_settled(inside, undecided):
                raise DatabaseError("it was created, renamed or altered while the backup ran.")
            after = inventory.definitions(inside)
        self._exact = self._exact and not undecided
        settled = {key for key, definition in after.items() if definition.is_settled(undecided)}
        for table, rows in found.items():
            if rows is None or f"relation {table}" not in settled:
                self._uncounted.append(f"{database}: {table}")
            else:
                self._counted.append(TableRows(database=database, table=table, rows=rows))
        # What an object refers to by name may have been renamed while its own catalog rows stayed as they are: so it
        # must be what it was before the backup, too.
        certain = {key: after[key].digest for key in settled if after[key].digest == before.get(key)}
        self.schemas[database] = certain
        if changing := sorted((before.keys() | after.keys()) - certain.keys()):
            self._changing[database] = tuple(changing)

    def record(self, uncounted: list[str]) -> RowsRecord:
        """All of it."""
        return RowsRecord(
            exact=self._exact,
            counted_at=utc_now(),
            tables=tuple(self._counted),
            uncounted=tuple(self._uncounted + uncounted),
            schemas=self.schemas,
            edition=inventory.EDITION,
            settled=self._settled.oldest,
            changing=self._changing,
        )

    def _undecided(self, connection: Connection) -> range:
        """Take the open transaction's snapshot; ids of those of whom it is unknown whether the backup has them."""
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        return range(self._settled.oldest, Snapshot.take(connection).next)
