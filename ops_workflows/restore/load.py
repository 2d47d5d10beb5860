"""A dump, or a part of it, loaded from the bucket into a server; nothing lies on a disk in between."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ops_workflows.errors import DatabaseError, RefusedError
from ops_workflows.postgres.logical import Entry, entries, load
from ops_workflows.postgres.pipe import Ran
from ops_workflows.postgres.programs import Programs, find_programs
from ops_workflows.postgres.server import Server
from ops_workflows.progress import SILENT, Progress
from ops_workflows.repository.dump import Dump, FoundTable
from ops_workflows.repository.dumps import RECORD, Dumps
from ops_workflows.repository.leases import reading
from ops_workflows.restore.empty_server import create_database, empty_server
from ops_workflows.settings import Settings

_START_SECONDS = 120
_SLOWEST = 2_000_000  # bytes of the database per second that loading may come down to before it is given up


def programs_for(settings: Settings, dump: Dump) -> Programs:
    """Programs that can read a dump.

    Raises:
        RefusedError: Those that there are, are older than pg_dump was.
    """
    programs = find_programs(settings.pg_bin_dir)
    if programs.major < dump.programs_major:
        raise RefusedError(
            f"Dump {dump.id} was made by pg_dump {dump.programs_major}, and pg_restore in {programs.bin_dir} is of "
            f"PostgreSQL {programs.major}: set OPS_PG_BIN_DIR to programs of PostgreSQL {dump.programs_major} or newer."
        )
    return programs


@contextmanager
def loaded(
    settings: Settings,
    dumps: Dumps,
    dump: Dump,
    database: str,
    *,
    table: FoundTable | None = None,
    progress: Progress = SILENT,
) -> Iterator[Server]:
    """One database of a dump in a server of our own, for the length of a `with`.

    Args:
        settings: Where the server's folder goes, and its bounds.
        dumps: Where the dump lies.
        dump: The dump.
        database: Name of the database, in the dump and then in the server.
        table: Load the rows and constraints of this table only, and as many definitions as can be. None: load
            everything, and fail if anything cannot be.
        progress: Hears of it, in bytes of the dump.

    Raises:
        RefusedError: The programs are too old, the database is not in the dump, or retention has just let go of it.
        ConfigurationError: The dump is encrypted to other keys than ours, or this machine cannot run a server.
        IntegrityError: The dump is damaged.
        DatabaseError: It could not be loaded, or took too long.
        StorageError: The bucket did not answer.
    """
    dumps.require_keys(dump)
    loading = _Loading(settings, dumps, dump, database, programs_for(settings, dump), progress)
    contents = loading.contents()
    lease = reading(dumps.repository, [(dump.id, dumps.key(dump.id, RECORD))], progress)
    with lease, empty_server(settings, loading.programs, progress) as server:
        create_database(server, database, dump.database(database).encoding, dump.roles)
        if table is None:
            # Filling a materialized view may run anything, and reach out to other servers.
            wanted = [entry for entry in contents if not entry.what.startswith("MATERIALIZED VIEW DATA ")]
            loading.load(server, wanted, whole=True)
        else:
            defined = loading.define(server)
            try:
                loading.load(server, [entry for entry in contents if _belongs(entry, table)], whole=False)
            except DatabaseError as error:
                reason = " ".join(defined.complaint)
                raise DatabaseError(f"{error}\n  {reason}") if reason else error from None
        yield server


def _belongs(entry: Entry, table: FoundTable) -> bool:
    if entry.what.startswith("TABLE DATA "):
        return entry.oid in table.oids
    # Its own constraints only: foreign keys are entries of another kind. Names are written with spaces for newlines.
    schema, _, name = table.plain.partition(".")
    return entry.what.startswith(f"CONSTRAINT {schema} {name} ".replace("\n", " "))


@dataclass(frozen=True, slots=True)
class _Loading:
    settings: Settings
    dumps: Dumps
    dump: Dump
    database: str
    programs: Programs
    progress: Progress

    def contents(self) -> list[Entry]:
        with self.dumps.open(self.dump, self.database, threads=1) as beginning:
            return entries(self.programs, beginning)

    def define(self, server: Server) -> Ran:
        """What comes before the data: it is in the beginning of the dump, and only that is read."""
        with self.dumps.open(self.dump, self.database, threads=1) as beginning:
            conninfo = server.dsn(self.database)
            return load(self.programs, beginning, conninfo, wanted=None, timeout=_START_SECONDS)

    def load(self, server: Server, wanted: list[Entry], *, whole: bool) -> None:
        dumped, done = self.dump.database(self.database), 0
        self.progress.begin(f"load {self.database}", self.dump.object(dumped.object).size)

        def advance(count: int) -> None:
            nonlocal done
            done += count
            self.progress.advance(done)

        timeout = _START_SECONDS + dumped.database_bytes / _SLOWEST
        threads = self.settings.s3_threads
        with self.dumps.open(self.dump, self.database, threads=threads, progress=advance) as pieces:
            ran = load(self.programs, pieces, server.dsn(self.database), wanted=wanted, timeout=timeout)
            if whole or ran.code != 0:
                # To the object's end, for only there is it known whether its bytes are those that were stored; and if
                # they are not, that is the reason for whatever happened.
                for _ in pieces:
                    pass
        if ran.code != 0:
            raise ran.failure(f"pg_restore of dump {self.dump.id}, database {self.database},")
