"""The database that is backed up: an own cluster of a chosen size, with the same bytes in its tables on each run."""

import os
from importlib.resources import files

import psutil
import psycopg
from psycopg.rows import TupleRow

from benchmarks.workplace import Workplace
from ops_workflows.postgres.connection import connect
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.postgres.programs import Programs, run
from ops_workflows.postgres.server import Server

_BYTES_PER_ROW = 1230  # of each table one, indexes included
_EMPTY_BYTES = 24_000_000  # of the databases that every cluster has
_FILL_SECONDS = 1800
_BATCH = 5000  # rows
_UPDATE = "UPDATE audit_log SET old_values = new_values, new_values = old_values WHERE id >= %s AND id < %s"
_DATA = files(__package__).joinpath("data.sql").read_text().encode()
# Tables that are filled in the transaction that creates them bypass the log; no client waits for these commits.
_TO_FILL = {"wal_level": "minimal", "max_wal_senders": "0", "fsync": "off", "maintenance_work_mem": "512MB"}
_TO_SERVE = {"wal_level": "replica", "max_wal_senders": "10", "archive_mode": "off", "max_wal_size": "1GB"}


class Cluster:
    """A PostgreSQL cluster that nobody writes to.

    Args:
        place: Where.
        programs: Of which PostgreSQL.
        name: Of its folder.
        options: Settings of the server beside the usual ones.

    Attributes:
        server: The server; it listens on a private socket.
        database_bytes: How large its databases are.
    """

    def __init__(self, place: Workplace, programs: Programs, name: str, **options: str) -> None:
        self._place = place
        self._folder = place.make(name)
        self._programs = programs
        self.server = self._server(_TO_SERVE | options)
        self.database_bytes = 0

    def create(self, size: int) -> None:
        """Make it, with about `size` bytes of data, and start it.

        Raises:
            DatabaseError: PostgreSQL could not.
        """
        data, account = self._folder / "data", self._place.account
        run(
            self._programs.path("initdb"),
            *("-D", data, "--username=postgres", "--auth=trust", "--data-checksums"),
            *("--locale=C.UTF-8", "--encoding=UTF8", "--no-sync"),
            timeout=120,
            account=account,
        )
        filling = self._server(_TO_FILL)
        filling.start()
        try:
            with connect(filling.dsn(), statement_seconds=_FILL_SECONDS) as connection:
                connection.execute("SELECT set_config('bench.rows', %s, false)", [str(_rows(size))])
                connection.execute(_DATA)
                connection.execute("VACUUM (FREEZE, ANALYZE)")
        finally:
            filling.stop()
        self.server.start()
        with connect(self.server.dsn()) as connection:
            row = connection.execute("SELECT sum(pg_database_size(oid))::bigint FROM pg_database").fetchone()
        self.database_bytes = int(row[0]) if row else 0

    def remove(self) -> None:
        """Stop it, and remove it."""
        self.server.stop()
        self._place.remove(self._folder)

    def processes(self) -> list[psutil.Process]:
        """The server's first process, whose children are the others."""
        postmaster = self.server.postmaster()
        return [postmaster] if postmaster else []

    def settle(self) -> None:
        """Bring it, and the machine, to where each run begins: all written back, and the data in the page cache."""
        with connect(self.server.dsn()) as connection:
            connection.execute("CHECKPOINT")
        self.flush()
        for path in self.server.data_dir.rglob("*"):
            if path.is_file():
                with path.open("rb", buffering=0) as file:
                    while file.read(1 << 20):
                        pass

    def flush(self) -> None:
        """Have everything written back to the disk, so that nobody pays for what came before."""
        os.sync()

    def write_log(self, size: int) -> Lsn:
        """Update rows, batch after batch, until the log has grown by so many bytes; where it then ends.

        Raises:
            DatabaseError: PostgreSQL could not.
        """
        with connect(self.server.dsn(), statement_seconds=_FILL_SECONDS) as connection:
            begin = end = end_of_log(connection)
            first = 1
            while end < begin + size:
                changed = connection.execute(_UPDATE, [first, first + _BATCH]).rowcount
                first = first + _BATCH if changed else 1
                end = end_of_log(connection)
            return end

    def _server(self, options: dict[str, str]) -> Server:
        own = {"listen_addresses": "", "unix_socket_directories": str(self._folder), "shared_buffers": "256MB"}
        return Server(
            self._programs,
            self._folder / "data",
            log_file=self._folder / "server.log",
            options=own | options,
            account=self._place.account,
        )


def end_of_log(connection: psycopg.Connection[TupleRow]) -> Lsn:
    """How far the server has flushed its log."""
    ((end,),) = connection.execute("SELECT pg_current_wal_flush_lsn()::text").fetchall()
    return Lsn.parse(end)


def _rows(size: int) -> int:
    return max(1, (size - _EMPTY_BYTES) // _BYTES_PER_ROW)
