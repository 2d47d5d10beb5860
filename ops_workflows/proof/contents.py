"""What a restored server holds: every row of every table, read; and every object's definition."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue

import psycopg

from ops_workflows.errors import DatabaseError
from ops_workflows.postgres.connection import connect
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
