"""What a restored server holds: every row of every table, read and found by its index; every object's definition.

The server is one that nobody keeps and on which nobody writes. So nobody ends a prepared transaction there, and what
one has locked would be waited for without an end: all of them are rolled back before anything is read. What can be seen
stays the same by that.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from math import ceil
from queue import Empty, SimpleQueue

import psycopg
from psycopg import sql

from ops_workflows.errors import DatabaseError
from ops_workflows.postgres.connection import Connection, connect
from ops_workflows.postgres.crossing import cross, has_empty_pages
from ops_workflows.postgres.inventory import databases, read_whole, schema, tables
from ops_workflows.postgres.server import Server
from ops_workflows.progress import SILENT, Progress
from ops_workflows.proof.deadline import Deadline

_READERS = 2
_LOCK_SECONDS = 120  # nobody else is there to wait for, but PostgreSQL itself may vacuum a table of great age
_POLL_SECONDS = 1.0
_GRACE_SECONDS = 5  # for a deadline to be heard of, before a statement is called too slow
_CANCEL_SECONDS = 5

Table = tuple[str, str]  # database, quoted schema.name


def read_everything(server: Server, superuser: str, progress: Progress = SILENT) -> dict[Table, int]:
    """Read every row of every table of a server, with all its columns: out-of-line values are decompressed, too.

    Args:
        server: Whose prepared transactions are rolled back.
        superuser: Whom to connect as.
        progress: Hears how far it is, at least every second. A `Deadline` bounds each statement, too.

    Returns:
        By database and table, how many rows it gave.

    Raises:
        DatabaseError: A table cannot be read to its end; the text names it.
    """
    progress.begin("read every table", None, "tables")
    roll_back_prepared(server, superuser)
    return _each_table(server, superuser, lambda connection, at: read_whole(connection, at[1]), progress)


def roll_back_prepared(server: Server, superuser: str) -> None:
    """Roll back every prepared transaction of a server that nobody keeps, so that none holds a lock.

    Those of databases that let nobody in stay: nothing is read there.

    Raises:
        DatabaseError: One cannot be rolled back.
    """
    with connect(server.dsn("postgres", superuser)) as connection:
        query = "SELECT datname, gid FROM pg_prepared_xacts JOIN pg_database ON datname = database WHERE datallowconn"
        prepared = connection.execute(query).fetchall()
    for database, gid in prepared:  # each in its own database, as PostgreSQL wants it
        with connect(server.dsn(database, superuser)) as connection:
            connection.execute(sql.SQL("ROLLBACK PREPARED {}").format(sql.Literal(gid)))


def find_by_index(
    server: Server, superuser: str, rows: Mapping[Table, int], progress: Progress = SILENT
) -> dict[Table, int]:
    """Count the rows of every table by one of its indexes, which must lead to as many as the table itself gave.

    Args:
        server: Which has been read: a table may be vacuumed.
        superuser: Whom to connect as.
        rows: From `read_everything`.
        progress: As there.

    Returns:
        The tables that have such an index, with their rows.

    Raises:
        DatabaseError: An index leads to what is not there; the text names both.
    """
    progress.begin("find every row by an index", None, "tables")
    with connect(server.dsn("postgres", superuser)) as connection:
        connection.execute("CHECKPOINT")  # from here on the files hold what the server knows

    def look(connection: Connection, at: Table) -> int | None:
        found = cross(connection, at[1])
        if found is None or at not in rows:
            return None
        if found.rows != rows[at]:
            raise DatabaseError(
                f"Index {found.index} of table {at[1]} in database {at[0]} leads to {found.rows:,} rows, and the table "
                f"has {rows[at]:,}: one of the two has lost some."
            )
        if found.looked and has_empty_pages(connection, at[1], server.data_dir):
            _require_pages(connection, at)
        return found.rows

    return _each_table(server, superuser, look, progress)


def _require_pages(connection: Connection, at: Table) -> None:
    """Vacuumed, a table has no page left that an entry leads to and that is not marked, unless it has lost it."""
    connection.execute(sql.SQL("VACUUM (INDEX_CLEANUP on, TRUNCATE off) {}").format(sql.SQL(at[1])))
    found = cross(connection, at[1])
    if found is not None and found.looked:
        raise DatabaseError(
            f"Index {found.index} of table {at[1]} in database {at[0]} has {found.looked:,} entries that lead to empty "
            "pages: the table has lost rows."
        )


def _each_table[T](
    server: Server, superuser: str, look: Callable[[Connection, Table], T | None], progress: Progress
) -> dict[Table, T]:
    found: dict[Table, T] = {}
    with connect(server.dsn("postgres", superuser)) as connection:
        names = databases(connection)
    for database in names:
        dsn = server.dsn(database, superuser)
        with connect(dsn) as connection:
            waiting: SimpleQueue[str] = SimpleQueue()
            for table in tables(connection):
                waiting.put(table)
        reading = _Reading(dsn, database, look, waiting, found)
        with ThreadPoolExecutor(_READERS) as pool:
            readers = [pool.submit(reading.read, _left(progress)) for _ in range(_READERS)]
            try:
                while wait(readers, _POLL_SECONDS, FIRST_EXCEPTION).not_done:
                    _raise_from(readers)
                    progress.advance(len(found))  # which may break it off
                _raise_from(readers)
            finally:
                reading.give_up(readers)
        progress.advance(len(found))
    return found


def _raise_from(readers: Iterable[Future[None]]) -> None:
    for each in readers:
        if each.done():
            each.result()


def _left(progress: Progress) -> int | None:
    """Seconds that a statement may take; None where nothing bounds it."""
    return ceil(progress.left) + _GRACE_SECONDS if isinstance(progress, Deadline) else None


@dataclass(frozen=True, slots=True)
class _Reading[T]:
    """The tables of one database, which several readers look at, each on a connection of its own.

    Attributes:
        dsn: Leads to it.
        database: Its name.
        look: Looks at one table.
        waiting: The tables that nobody has looked at yet.
        found: Is given what was seen.
        connections: All that were opened.
    """

    dsn: str
    database: str
    look: Callable[[Connection, Table], T | None]
    waiting: "SimpleQueue[str]"
    found: dict[Table, T]
    connections: list[Connection] = field(default_factory=list)

    def read(self, seconds: int | None) -> None:
        """Look at one table after the other until none waits.

        Args:
            seconds: That one statement may take; None for no bound.

        Raises:
            DatabaseError: A table cannot be read to its end; the text names it.
        """
        with connect(self.dsn, statement_seconds=seconds or 0) as connection, suppress(Empty):
            self.connections.append(connection)
            patience = sql.Literal(f"{min(_LOCK_SECONDS, seconds or _LOCK_SECONDS)}s")
            connection.execute(sql.SQL("SET lock_timeout = {}").format(patience))
            while table := self.waiting.get_nowait():
                try:
                    seen = self.look(connection, (self.database, table))
                except psycopg.errors.ObjectNotInPrerequisiteState:
                    continue  # a materialized view that nobody has filled yet: there is nothing to read
                except psycopg.Error as error:
                    said = " ".join(str(error).split())
                    raise DatabaseError(
                        f"Table {table} of database {self.database} cannot be read to its end: {said}."
                    ) from error
                if seen is not None:
                    self.found[self.database, table] = seen

    def give_up(self, readers: Sequence[Future[None]]) -> None:
        """End what the readers are still doing; where all are done, that is nothing."""
        with suppress(Empty):
            while True:
                self.waiting.get_nowait()
        while wait(readers, 0).not_done:
            for connection in list(self.connections):
                with suppress(psycopg.Error):
                    connection.cancel_safe(timeout=_CANCEL_SECONDS)
            wait(readers, _POLL_SECONDS)


def schemas(server: Server, superuser: str) -> dict[str, dict[str, str]]:
    """Of every database, each object's identity and its definition's digest."""
    with connect(server.dsn("postgres", superuser)) as connection:
        names = databases(connection)
    found = {}
    for database in names:
        with connect(server.dsn(database, superuser)) as connection:
            found[database] = schema(connection)
    return found
