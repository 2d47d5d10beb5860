"""`ops.migration_history`: what was done to the schemas, who did it, and on what it rests."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from psycopg.rows import class_row

from ops_workflows.postgres.connection import Connection
from ops_workflows.postgres.identity import who
from ops_workflows.postgres.lsn import Lsn

TABLE = "ops.migration_history"
_COLUMNS = (
    "id, version, direction, name, sha256, who, started_at, finished_at, result, statements_done, said, "
    "restore_lsn::text, backup, rehearsal"
)


class Result(StrEnum):
    """What came of an attempt."""

    RUNNING = "running"
    APPLIED = "applied"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Foundation:
    """What a run rests on.

    Attributes:
        restore_point: Its name; empty where we may not set one.
        restore_lsn: The place of the log just before the run; None where nobody asked.
        backup: The id of the backup.
        rehearsal: The id of the rehearsal.
    """

    restore_point: str = ""
    restore_lsn: Lsn | None = None
    backup: str = ""
    rehearsal: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """An attempt at one file.

    Attributes:
        id: Its number.
        version: Of the file.
        direction: Which way, or `force` or `baseline`.
        name: Of the file.
        sha256: Of its bytes, hex; empty where no file was run.
        who: Made it.
        started_at: When it began.
        finished_at: When it ended; None while it runs, or since it was killed.
        result: What came of it.
        statements_done: How many statements were carried out, of a file that is run statement by statement.
        said: Why it failed.
        restore_lsn: The place of the log just before the run; None where nobody asked.
        backup: The id of the backup that it rests on; empty for none.
        rehearsal: The id of the rehearsal that it rests on; empty for none.
    """

    id: int
    version: int
    direction: str
    name: str
    sha256: str
    who: str
    started_at: datetime
    finished_at: datetime | None
    result: str
    statements_done: int
    said: str
    restore_lsn: str | None = None
    backup: str = ""
    rehearsal: str = ""

    @property
    def seconds(self) -> float | None:
        """How long it took; None where it has not ended."""
        return None if self.finished_at is None else (self.finished_at - self.started_at) / timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class History:
    """The history of one schema. Where its table is not there yet, nothing is written and nothing is known.

    Attributes:
        ledger: The schema whose version table it accompanies.
        foundation: What this run rests on.
        there: Whether its table is known to be there, so that nobody need ask for each file.
    """

    ledger: str
    foundation: Foundation = Foundation()
    there: bool = False

    def add(
        self,
        connection: Connection,
        version: int,
        direction: str,
        *,
        name: str = "",
        sha256: str = "",
        result: Result = Result.APPLIED,
        seconds: float = 0,
        waited: float = 0,
        said: str = "",
    ) -> int | None:
        """Add an attempt that began so many seconds ago.

        Args:
            connection: In whose transaction it becomes true.
            version: Of the file.
            direction: Which way.
            name: Of the file.
            sha256: Of its bytes.
            result: What came of it, or that it runs.
            seconds: How long ago it began.
            waited: Seconds that went by with attempts that did not get their locks.
            said: Why it failed.

        Returns:
            Its number; None where there is no history yet.
        """
        if not self.there and not _is_there(connection):
            return None
        rests = self.foundation
        row = connection.execute(
            f"""
            INSERT INTO {TABLE} (ledger, version, direction, name, sha256, who, started_at, finished_at,
                lock_wait_seconds, result, said, restore_point, restore_lsn, backup, rehearsal)
            VALUES (%(ledger)s, %(version)s, %(direction)s, %(name)s, %(sha256)s, %(who)s,
                clock_timestamp() - make_interval(secs => %(seconds)s),
                CASE WHEN %(result)s <> 'running' THEN clock_timestamp() END,
                %(waited)s, %(result)s, %(said)s, %(point)s, %(lsn)s::pg_lsn, %(backup)s, %(rehearsal)s)
            RETURNING id""",  # noqa: S608 - the table's name is ours
            {
                "ledger": self.ledger,
                "version": version,
                "direction": direction,
                "name": name,
                "sha256": sha256,
                "who": f"{who()} as {connection.info.user}",
                "seconds": seconds,
                "result": result,
                "waited": waited,
                "said": said,
                "point": rests.restore_point,
                "lsn": str(rests.restore_lsn) if rests.restore_lsn is not None else None,
                "backup": rests.backup,
                "rehearsal": rests.rehearsal,
            },
        ).fetchone()
        return int(row[0]) if row else None

    def progress(self, connection: Connection, entry: int | None, statements_done: int) -> None:
        """So many statements of a file have been carried out."""
        connection.execute(
            f"UPDATE {TABLE} SET statements_done = %s WHERE id = %s",  # noqa: S608 - the table's name is ours
            [statements_done, entry],
        ) if entry is not None else None

    def finish(
        self, connection: Connection, entry: int | None, result: Result, *, waited: float = 0, said: str = ""
    ) -> None:
        """An attempt has ended."""
        if entry is not None:
            connection.execute(
                f"UPDATE {TABLE} SET finished_at = clock_timestamp(), result = %s, said = %s, "  # noqa: S608
                "lock_wait_seconds = lock_wait_seconds + %s WHERE id = %s",
                [result, said, waited, entry],
            )

    def entries(self, connection: Connection) -> list[Entry]:
        """All attempts, oldest first."""
        if not _is_there(connection):
            return []
        with connection.cursor(row_factory=class_row(Entry)) as cursor:
            query = f"SELECT {_COLUMNS} FROM {TABLE} WHERE ledger = %s ORDER BY id"  # noqa: S608
            return cursor.execute(query.encode(), [self.ledger]).fetchall()


def _is_there(connection: Connection) -> bool:
    return connection.execute("SELECT to_regclass(%s)", [TABLE]).fetchone() != (None,)
