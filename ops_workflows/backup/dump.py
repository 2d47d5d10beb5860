"""A logical dump: from pg_dump into the bucket, with what every table held in the very snapshot that was dumped.

It needs the right to read, nothing more, so it also protects servers that do not offer the replication protocol. The
record `dump.json` is written last and only if there is none: whatever happens before, there is no dump then.
"""

from collections.abc import Sequence

from ops_workflows.backup.dump_lock import dump_lock
from ops_workflows.backup.dump_snapshot import Pinned, pinned
from ops_workflows.backup.dump_source import Source, ask, choose, settings_of
from ops_workflows.backup.dump_writer import DumpWriter
from ops_workflows.errors import DatabaseError, StorageError
from ops_workflows.postgres.connection import Connection, connect
from ops_workflows.postgres.fingerprint import content, settle
from ops_workflows.postgres.logical import dump, dump_globals, for_programs, refuse_older
from ops_workflows.postgres.programs import Programs, find_programs
from ops_workflows.progress import SILENT, Progress
from ops_workflows.repository import dumps as layout
from ops_workflows.repository.backup import utc_now
from ops_workflows.repository.catalogue import open_repository
from ops_workflows.repository.dump import Dump, DumpedDatabase, DumpedTable, Fingerprint
from ops_workflows.repository.dumps import Dumps
from ops_workflows.repository.layout import new_backup_id
from ops_workflows.settings import Settings

_NAME = "ops_workflows dump"


def take_dump(
    settings: Settings,
    only: Sequence[str] = (),
    progress: Progress = SILENT,
    *,
    hash_max_bytes: int | None = None,
) -> Dump:
    """Dump the cluster that the settings name.

    Args:
        settings: Whose OPS_BACKUP_DSN is dumped.
        only: Databases to dump. Default: all that the role may connect to.
        progress: Hears of phases, and of what killed predecessors left.
        hash_max_bytes: Of a larger table, rows are counted and only a sample of them is hashed. Default: the setting.

    Returns:
        Its record, as it now stands in the bucket.

    Raises:
        RefusedError: pg_dump is too old, the role may not read everything, or another dump is running.
        DatabaseError: PostgreSQL or pg_dump failed or fell silent.
        StorageError: The bucket did not take it.
    """
    dsn, timeout = settings.require("backup_dsn"), settings.connect_timeout_seconds
    most_bytes = settings.dump_hash_max_bytes if hash_max_bytes is None else hash_max_bytes
    with connect(dsn, timeout=timeout, application_name=_NAME) as connection:
        source = ask(connection)
        programs = find_programs(settings.pg_bin_dir)
        refuse_older(programs, source.server_version)
        databases = choose(source, only)
        described = settings_of(connection)
        settle(connection)
        with dump_lock(connection):
            dumps = Dumps(open_repository(settings, source.system))
            for sentence in dumps.sweep():
                progress.say(sentence)
            for name in source.closed:
                progress.say(f"Database {name} is left out: our role may not connect to it.")
            taking = _Taking(
                settings, dumps, programs=programs, source=source, hash_max_bytes=most_bytes, progress=progress
            )
            return taking.run(connection, databases, described)


class _Taking:
    """One dump on its way into the bucket."""

    def __init__(
        self,
        settings: Settings,
        dumps: Dumps,
        *,
        programs: Programs,
        source: Source,
        hash_max_bytes: int,
        progress: Progress,
    ) -> None:
        self._settings = settings
        self._dsn = settings.require("backup_dsn")
        self._keys = dumps.repository.keys
        self._programs = programs
        self._source = source
        self._hash_max_bytes = hash_max_bytes
        self._progress = progress
        self._started = utc_now()
        self._id = new_backup_id(self._started)
        self._writer = DumpWriter(dumps, self._id, threads=settings.s3_threads)

    def run(self, connection: Connection, databases: Sequence[str], described: str) -> Dump:
        whole = False
        try:
            with for_programs(self._dsn, connection) as conninfo:
                roles = dump_globals(self._programs, conninfo, databases[0])
            self._writer.put(layout.GLOBALS, roles.encode())
            self._writer.put(layout.SETTINGS, described.encode())
            dumped, held = [], {}
            for name in databases:
                database, held[name] = self._database(name)
                dumped.append(database)
            self._writer.put(layout.FINGERPRINT, Fingerprint(databases=held).model_dump_json().encode())
            record = self._record(tuple(dumped))
            connection.execute("SELECT")  # if the lock was lost with its connection, another dump may have swept ours
            self._writer.record(record)
            whole = True
        finally:
            if not whole:
                self._remove()
        return record

    def _database(self, name: str) -> tuple[DumpedDatabase, tuple[DumpedTable, ...]]:
        bounds = {"timeout": self._settings.connect_timeout_seconds, "statement_seconds": 0}
        with connect(self._dsn, **bounds, dbname=name, application_name=_NAME) as inside, pinned(inside) as pin:
            # pg_dump first: whoever wants to alter a table now waits for us, and pg_dump's locks would wait for him.
            self._stream(inside, name, pin)
            held = self._fingerprint(inside, name, pin)
        database = DumpedDatabase(
            name=name,
            object=self._writer.stored[-1].name,
            snapshot=pin.snapshot,
            taken_at=pin.taken_at,
            encoding=pin.encoding,
            database_bytes=pin.database_bytes,
            tables=len(held),
            rows=sum(table.content.rows for table in held),
        )
        return database, held

    def _fingerprint(self, inside: Connection, name: str, pin: Pinned) -> tuple[DumpedTable, ...]:
        self._progress.begin(f"fingerprint {name}", len(pin.tables), "tables")
        held = []
        for table in pin.tables:
            found = content(inside, table.quoted, table.columns, most_bytes=self._hash_max_bytes)
            held.append(DumpedTable(table=table, content=found))
            self._progress.advance(len(held))
        return tuple(held)

    def _stream(self, inside: Connection, name: str, pin: Pinned) -> None:
        self._progress.begin(f"dump {name}", None)
        done = 0
        with (
            for_programs(self._dsn, inside) as conninfo,
            self._writer.stream(layout.object_name(name), pin.database_bytes) as write,
        ):

            def take(piece: bytes) -> None:
                nonlocal done
                write(piece)
                done += len(piece)
                self._progress.advance(done)

            ran = dump(
                self._programs,
                conninfo,
                pin.exported,
                zstd_level=self._settings.backup_zstd_level,
                in_recovery=self._source.in_recovery,
                into=take,
                stall_seconds=self._settings.stall_seconds,
            )
            if not done:
                raise DatabaseError(f"pg_dump of database {name} ended well and wrote nothing: that is no dump.")
        for warning in ran.complaint:
            self._progress.say(warning)

    def _record(self, dumped: tuple[DumpedDatabase, ...]) -> Dump:
        names = {database.name for database in dumped}
        return Dump(
            id=self._id,
            system=self._source.system,
            started_at=self._started,
            finished_at=utc_now(),
            server_version=self._source.server_version,
            programs_major=self._programs.major,
            databases=dumped,
            left_out=tuple(sorted({*self._source.databases, *self._source.closed} - names)),
            roles=tuple(self._source.roles),
            recipients=self._keys.recipients,
            objects=tuple(self._writer.stored),
        )

    def _remove(self) -> None:
        try:
            self._writer.remove()
        except StorageError as error:
            self._progress.say(f"What was stored of dump {self._id} is left to the next one to remove: {error}")
