"""BASE_BACKUP: the server's own backup as one stream, told apart into its archives, its manifest and its progress.

https://www.postgresql.org/docs/current/protocol-replication.html#PROTOCOL-REPLICATION-BASE-BACKUP. The server sends
each tablespace as a tar archive (compressed by itself if asked to), the WAL from start to stop inside the main one, and
then its manifest. Needs PostgreSQL 15 or later on the other end.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ops_workflows.errors import DatabaseError
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.postgres.replication import ReplicationConnection


@dataclass(frozen=True, slots=True)
class Tablespace:
    """A tablespace as the server announces it; `oid` is None for the data directory itself."""

    oid: int | None
    location: str | None
    expected_bytes: int


@dataclass(frozen=True, slots=True)
class Began:
    """The backup has begun at this place, and these are the archives to expect."""

    start: Lsn
    timeline: int
    tablespaces: tuple[Tablespace, ...]


@dataclass(frozen=True, slots=True)
class Archive:
    """What follows is an archive with this name, such as `base.tar.zst`."""

    name: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What follows is the manifest."""


@dataclass(frozen=True, slots=True)
class Data:
    """The next bytes of the archive or the manifest; good until the next event is asked for."""

    content: memoryview


@dataclass(frozen=True, slots=True)
class Progress:
    """So many bytes of the database have been read, before compression."""

    done: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The server has vouched for the whole: the WAL up to here makes it consistent."""

    stop: Lsn
    timeline: int


Event = Began | Archive | Manifest | Data | Progress | Ended


def command(label: str, *, compression: str | None, detail: str | None, incremental: bool = False) -> str:
    """The BASE_BACKUP command of this project.

    Args:
        label: Ends up in `backup_label`; letters, digits, `-`, `_`, `.` and spaces.
        compression: `zstd`, `lz4`, or None for none.
        detail: The compression's detail, such as `level=3,workers=2`.
        incremental: Only what has changed since the backup whose manifest was uploaded before; PostgreSQL 17 and later.
    """
    options = [
        f"LABEL '{label}'",
        "PROGRESS",
        "CHECKPOINT 'fast'",
        "WAL",  # a base backup without its WAL from start to stop cannot be started
        "TABLESPACE_MAP",
        "MANIFEST 'yes'",
        "MANIFEST_CHECKSUMS 'SHA256'",
    ]
    if compression is not None:
        options.append(f"COMPRESSION '{compression}'")
        if detail:
            options.append(f"COMPRESSION_DETAIL '{detail}'")
    if incremental:
        options.append("INCREMENTAL")
    return f"BASE_BACKUP ({', '.join(options)})"


def upload_manifest(connection: ReplicationConnection, manifest: Iterable[bytes]) -> None:
    """Give the server the manifest of the backup that the next one is to be incremental to.

    Raises:
        ServerError: It does not take it.
    """
    connection.upload("UPLOAD_MANIFEST", manifest)


def base_backup(connection: ReplicationConnection, command: str) -> Iterator[Event]:
    """Run a BASE_BACKUP command and tell what comes, in order.

    Raises:
        ServerError: The server refused, or found its own data damaged (a page whose checksum is wrong): no backup then.
        DatabaseError: The connection broke or fell silent.
    """
    connection.send(command)
    ((start, timeline),) = connection.rows()
    tablespaces = tuple(
        Tablespace(int(oid) if oid else None, location, int(size or 0) * 1024)
        for oid, location, size in connection.rows()
    )
    yield Began(Lsn.parse(start or ""), int(timeline or 0), tablespaces)
    for message in connection.copy_out():
        yield _event(message)
    ((stop, timeline),) = connection.rows()
    connection.done()
    yield Ended(Lsn.parse(stop or ""), int(timeline or 0))


def _event(message: memoryview) -> Event:
    kind = bytes(message[:1])
    if kind == b"d":
        return Data(message[1:])
    if kind == b"p":
        return Progress(struct.unpack(">q", message[1:9])[0])
    if kind == b"n":
        name, _, _location = bytes(message[1:]).partition(b"\0")
        return Archive(name.decode())
    if kind == b"m":
        return Manifest()
    raise DatabaseError(f"PostgreSQL sent a message of kind {kind!r} in a base backup, which no manual describes.")
