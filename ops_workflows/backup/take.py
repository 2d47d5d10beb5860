"""A base backup: from the server's replication protocol into the bucket, without a disk in between.

The record `backup.json` is written last and only if there is none: whatever happens before, there is no backup then.
What was stored until a failure is removed at once; what a killed process leaves, the next backup removes and reports.
"""

import hashlib
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from ops_workflows.backup import preflight
from ops_workflows.backup.archive import ArchiveSink
from ops_workflows.backup.compression import Compression, choices, not_built_in
from ops_workflows.backup.lock import backup_lock
from ops_workflows.backup.policy import Choice, Kind, choose
from ops_workflows.backup.rows import Expectations
from ops_workflows.backup.source import Source, choose_source
from ops_workflows.errors import DatabaseError, IntegrityError, RefusedError, StorageError
from ops_workflows.postgres import base_backup as protocol
from ops_workflows.postgres.connection import Connection, connect
from ops_workflows.postgres.replication import ReplicationConnection, ServerError
from ops_workflows.progress import SILENT, Progress
from ops_workflows.repository import layout
from ops_workflows.repository.backup import Backup, StoredArchive, TablespaceRecord, utc_now
from ops_workflows.repository.catalogue import Repository, open_repository, sweep
from ops_workflows.repository.proofs import newest
from ops_workflows.repository.records import sealed
from ops_workflows.repository.rungs import OF_ITSELF
from ops_workflows.settings import Settings
from ops_workflows.storage.checksums import sha256_base64
from ops_workflows.storage.fetch import fetch
from ops_workflows.storage.upload import Upload

_NAME = "ops_workflows backup"
_SAMPLE_SECONDS = 0.5
_DATA_CORRUPTED = "XX001"  # of the server's own data: a full backup would find the same


def take_backup(settings: Settings, progress: Progress = SILENT, kind: Kind = Kind.FULL) -> Backup:
    """Take a base backup of the cluster that the settings name.

    Args:
        settings: Server, bucket, compression.
        progress: Hears of the phases, and why a backup is full or incremental.
        kind: What is wanted. What cannot be incremental becomes full, and `progress` hears why.

    Returns:
        Its record, as it now stands in the bucket.

    Raises:
        RefusedError: The server cannot give one, dumps are all there is to be, or another backup is running.
        DatabaseError: PostgreSQL failed, fell silent, or found its own data damaged.
        StorageError: The bucket did not take it.
    """
    if reason := preflight.dumps_only(settings):
        raise RefusedError(reason)
    primary = settings.require("backup_dsn")
    bounds = {"timeout": settings.connect_timeout_seconds, "statement_seconds": settings.stall_seconds}
    with connect(primary, **bounds, application_name=_NAME) as connection:
        source = choose_source(settings, connection, progress)
        with backup_lock(connection), _source_connection(settings, source, connection) as reading:
            facts = preflight.ask(reading)
            if refusals := preflight.refusals(facts):
                raise RefusedError(" ".join(refusals))
            for warning in preflight.warnings(facts):
                progress.say(warning)
            with ReplicationConnection(
                source.dsn, timeout=settings.connect_timeout_seconds, stall_seconds=settings.stall_seconds
            ) as stream:
                system = stream.identify()
                repository = open_repository(settings, system.identifier)
                for sentence in sweep(repository):
                    progress.say(sentence)
                known = repository.catalogue()
                for sentence in known.damaged.values():
                    progress.say(sentence)
                chosen = choose(
                    kind,
                    utc_now(),
                    facts,
                    system.timeline,
                    known.readable,
                    full_weekday=settings.backup_full_weekday,
                    longest_chain=settings.backup_longest_chain,
                    damaged=known.damaged.keys(),
                    failed=_failed(repository, known.readable[-settings.backup_longest_chain :]),
                )
                counts = settings.backup_count_rows and facts.may_read
                expectations = Expectations(settings, source.dsn, reading) if counts else None
                return _Taking(settings, repository, facts, expectations, progress).run(stream, chosen)


@contextmanager
def _source_connection(settings: Settings, source: Source, primary: Connection) -> Iterator[Connection]:
    if not source.is_standby:
        yield primary
        return
    bounds = {"timeout": settings.connect_timeout_seconds, "statement_seconds": settings.stall_seconds}
    with connect(source.dsn, **bounds, application_name=_NAME) as connection:
        yield connection


def _failed(repository: Repository, backups: Iterable[Backup]) -> dict[str, str]:
    """By the ids of those that nothing more should be built on: the lowest rung that was failed."""
    shown = newest(repository, [backup.id for backup in backups])
    failures = (
        (each, [rung for rung in OF_ITSELF if rung in of and not of[rung].passed]) for each, of in shown.items()
    )
    return {backup_id: rungs[0] for backup_id, rungs in failures if rungs}


class _Taking:
    """One backup on its way into the bucket."""

    def __init__(
        self,
        settings: Settings,
        repository: Repository,
        facts: preflight.Facts,
        expectations: Expectations | None,
        progress: Progress,
    ) -> None:
        self._settings = settings
        self._repository = repository
        self._facts = facts
        self._expectations = expectations
        self._progress = progress
        self._started = utc_now()
        self._id = layout.new_backup_id(self._started)
        self._stored: list[StoredArchive] = []
        self._done_bytes = 0
        self._expected_bytes = 0
        self._sampled = time.monotonic()

    def run(self, stream: ReplicationConnection, chosen: Choice) -> Backup:
        whole = False
        try:
            backup = self._stream_incremental(stream, chosen) or self._stream_what_the_server_can(stream, None)
            self._publish(sealed(backup))
            whole = True
        finally:
            if not whole:
                self._remove()
        return backup

    def _stream_incremental(self, stream: ReplicationConnection, chosen: Choice) -> Backup | None:
        """An incremental backup; None where it is to be a full one, or has to be, because the server refuses."""
        reason = chosen.reason
        if chosen.parent is not None:
            self._progress.say(f"This backup is {reason}.")
            try:
                return self._stream_what_the_server_can(stream, chosen.parent)
            except ServerError as error:
                if self._stored or error.sqlstate == _DATA_CORRUPTED:
                    raise
                reason = f"the server refuses an incremental one: {error}"
            except IntegrityError as error:
                if self._stored:
                    raise
                reason = f"the manifest that it would build on is damaged: {error}"
        self._progress.say(f"This backup is full: {reason.rstrip('.')}.")
        return None

    def _stream_what_the_server_can(self, stream: ReplicationConnection, parent: Backup | None) -> Backup:
        refused: ServerError | None = None
        for compression in choices(self._settings):
            try:
                return self._stream(stream, compression, parent)
            except ServerError as error:
                if self._stored or not not_built_in(error):
                    raise
                refused = error
        raise DatabaseError(f"{refused} OPS_BACKUP_CODEC=auto takes what the server can do.")

    def _stream(self, stream: ReplicationConnection, compression: Compression, parent: Backup | None) -> Backup:
        if parent is not None:
            protocol.upload_manifest(stream, self._manifest(parent))
        command = protocol.command(
            f"ops_workflows {self._id}",
            compression=compression.method,
            detail=compression.detail,
            incremental=parent is not None,
        )
        began: protocol.Began | None = None
        ended: protocol.Ended | None = None
        expected = dict[str, int]()
        sink: ArchiveSink | None = None
        with ExitStack() as sinks:
            for event in protocol.base_backup(stream, command):
                match event:
                    case protocol.Began():
                        began = event
                        # Of each archive, called base or by its oid; before compression, which is the most it can be.
                        expected = {str(space.oid or "base"): space.expected_bytes for space in event.tablespaces}
                        self._expected_bytes = sum(expected.values())
                        self._progress.begin("back up", self._expected_bytes)
                    case protocol.Archive(name):
                        self._finish(sink)
                        keys = self._repository.keys
                        of = name.partition(".")[0]
                        name = compression.object_name(name) + keys.suffix
                        upload = self._upload(name, expected.get(of, self._expected_bytes))
                        sink = sinks.enter_context(ArchiveSink(name, upload, compression.compressor(), keys))
                    case protocol.Manifest():
                        self._finish(sink)
                        upload = self._upload(layout.MANIFEST, 0)
                        sink = sinks.enter_context(ArchiveSink(layout.MANIFEST, upload, None))
                    case protocol.Data(content) if sink is not None:
                        sink.write(content)
                    case protocol.Progress(done):
                        self._advance(done)
                    case protocol.Ended():
                        ended = event
                        self._finish(sink)
        if began is None or ended is None:
            raise DatabaseError("PostgreSQL ended the base backup before it was whole.")
        return self._record(compression, began, ended, parent)

    def _manifest(self, parent: Backup) -> Iterator[bytes]:
        stored = parent.object(layout.MANIFEST)
        key = self._repository.layout.backup(parent.id, layout.MANIFEST)
        return fetch(self._repository.store, key, size=stored.size, sha256=stored.sha256, threads=1)

    def _record(
        self, compression: Compression, began: protocol.Began, ended: protocol.Ended, parent: Backup | None
    ) -> Backup:
        finished = utc_now()
        if self._expectations is not None:
            rows = self._expectations.count(ended.stop, self._progress)
            if rows is not None:
                self._put(layout.ROWS, rows.model_dump_json().encode())
        return Backup(
            id=self._id,
            system=self._repository.layout.system,
            parent=parent.id if parent else None,
            timeline=began.timeline,
            start_lsn=began.start,
            stop_lsn=ended.stop,
            started_at=self._started,
            finished_at=finished,
            server_version=self._facts.server_version,
            superuser=self._facts.superuser,
            from_standby=self._facts.in_recovery,
            wal_segment_bytes=self._facts.wal_segment_bytes,
            data_checksums=self._facts.data_checksums,
            codec=compression.codec,
            compressed_by="server" if compression.by_server else "client",
            encrypted=bool(self._repository.keys.recipients),
            recipients=self._repository.keys.recipients,
            database_bytes=self._expected_bytes if parent else self._done_bytes,
            archived_bytes=self._done_bytes,
            tablespaces=tuple(
                TablespaceRecord(oid=tablespace.oid, location=tablespace.location)
                for tablespace in began.tablespaces
                if tablespace.oid is not None and tablespace.location is not None
            ),
            objects=tuple(self._stored),
        )

    def _upload(self, name: str, expected: int) -> Upload:
        key = self._repository.layout.backup(self._id, name)
        return Upload(self._repository.store, key, threads=self._settings.s3_threads, expected_bytes=expected)

    def _finish(self, sink: ArchiveSink | None) -> None:
        if sink is not None:
            self._stored.append(sink.finish())

    def _advance(self, done: int) -> None:
        self._done_bytes = done
        self._progress.advance(done)
        if self._expectations is not None and time.monotonic() - self._sampled >= _SAMPLE_SECONDS:
            self._expectations.sample()
            self._sampled = time.monotonic()

    def _put(self, name: str, body: bytes) -> None:
        done = self._repository.store.put(self._repository.layout.backup(self._id, name), body, lock=True)
        self._stored.append(
            StoredArchive(
                name=name,
                size=done.size,
                sha256=hashlib.sha256(body).hexdigest(),
                etag=done.etag,
                checksum=sha256_base64(body),
            )
        )

    def _publish(self, record: bytes) -> None:
        # A promoted twin of this cluster takes what we have stored so far for debris of its own, and removes it.
        for stored in self._stored:
            found = self._repository.store.head(self._repository.layout.backup(self._id, stored.name))
            if found is None or found.size != stored.size:
                raise StorageError(f"{stored.name} of backup {self._id} has gone from the bucket while the backup ran.")
        key = self._repository.layout.backup(self._id, layout.RECORD)
        try:
            self._repository.store.put(key, record, if_absent=True, lock=True)
        except RefusedError:
            # The answer to a first try may have been lost, and the second one then finds what the first has stored.
            if self._repository.store.get(key) != record:
                raise

    def _remove(self) -> None:
        # The bucket may be what failed: then nothing can be removed now, and the next backup's sweep will. The record
        # goes first, for its answer may have been lost and it be there: it must not outlive what it vouches for.
        prefix = self._repository.layout.backup(self._id)
        try:
            self._repository.store.delete([prefix + layout.RECORD])
            self._repository.store.delete(found.key for found in self._repository.store.objects(prefix))
        except StorageError as error:
            self._progress.say(f"What was stored of backup {self._id} is left to the next one to remove: {error}")
