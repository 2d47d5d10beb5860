"""What a restored server holds: every row of every table, read and found by its index; every object's definition."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue

import psycopg
from psycopg import sql

from ops_workflows.errors import DatabaseError
from ops_workflows.postgres.connection import Connection, connect
from ops_workflows.postgres.crossing import cross, has_empty_pages
from ops_workflows.postgres.inventory import databases, read_whole, schema, tables
from ops_workflows.postgres.server import Server
from ops_workflows.progress import SILENT, Progress

_READERS = 2

Table = tuple[str, str]  # database, quoted schema.name


def read_everything(server: Server, superuser: str, progress: Progress = SILENT) -> dict[Table, int]:
    """Read every row of every table of a server, with all its columns: out-of-line values are decompressed, too.

    Returns:
        By database and table, how many rows it gave.

    Raises:
        DatabaseError: A table cannot be read to its end; the text names it.
    """
    progress.begin("read every table", None, "tables")
    return _each_table(server, superuser, lambda connection, at: read_whole(connection, at[1]), progress)


def find_by_index(
    server: Server, superuser: str, rows: Mapping[Table, int], progress: Progress = SILENT
) -> dict[Table, int]:
    """Count the rows of every table by one of its indexes, which must lead to as many as the table itself gave.

    Args:
        server: On which nobody writes, and that nobody keeps: a table may be vacuumed.
        superuser: Whom to connect as.
        rows: From `read_everything`.
        progress: Hears how far it is.

    Returns:
        The tables that have such an index, with their rows.

    Raises:
        DatabaseError: An index leads to what is not there; the text names both.
    """
    progress.begin("find every row by an index", None, "tables")
    with connect(server.dsn("postgres", superuser)) as connection:
        connection.execute("CHECKPOINT")  # from here on the files hold what the server knows
        ((prepared,),) = connection.execute("SELECT count(*) FROM pg_prepared_xacts")

    def look(connection: Connection, at: Table) -> int | None:
        found = cross(connection, at[1])
        if found is None or at not in rows:
            return None
        if found.rows != rows[at]:
            raise DatabaseError(
                f"Index {found.index} of table {at[1]} in database {at[0]} leads to {found.rows:,} rows, and the table "
                f"has {rows[at]:,}: one of the two has lost some."
            )
        # A prepared transaction keeps pages from being marked as seen by everybody, so no more can be said beside one.
        if found.looked and not prepared and has_empty_pages(connection, at[1], server.data_dir):
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
        with connect(server.dsn(database, superuser)) as connection:
            waiting: SimpleQueue[str] = SimpleQueue()
            for table in tables(connection):
                waiting.put(table)
        work = partial(_look, server.dsn(database, superuser), database, waiting, look)
        with ThreadPoolExecutor(_READERS) as pool:
            for reader in [pool.submit(work) for _ in range(_READERS)]:
                found |= reader.result()
        progress.advance(len(found))
    return found


def _look[T](
    dsn: str, database: str, waiting: "SimpleQueue[str]", look: Callable[[Connection, Table], T | None]
) -> dict[Table, T]:
    found: dict[Table, T] = {}
    with connect(dsn, statement_seconds=0) as connection, suppress(Empty):
        while table := waiting.get_nowait():
            try:
                seen = look(connection, (database, table))
            except psycopg.errors.ObjectNotInPrerequisiteState:
                continue  # a materialized view that nobody has filled yet: there is nothing to read
            except psycopg.Error as error:
                said = " ".join(str(error).split())
                raise DatabaseError(
                    f"Table {table} of database {database} cannot be read to its end: {said}."
                ) from error
            if seen is not None:
                found[database, table] = seen
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
