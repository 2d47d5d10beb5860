"""`checksummed`: every object hashes to what its record says, and every file in it to what PostgreSQL's manifest says.

So does the log that leads away from it. All is read, and nothing written to a disk.
"""

import hashlib

from ops_workflows.errors import IntegrityError
from ops_workflows.progress import SILENT, Progress
from ops_workflows.proof.log import Log
from ops_workflows.proof.rungs import Climb
from ops_workflows.repository.backup import Backup, StoredArchive
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.contents import members
from ops_workflows.repository.layout import MANIFEST
from ops_workflows.repository.manifest import ManifestFile, parse_manifest
from ops_workflows.repository.rungs import Rung
from ops_workflows.restore.readable import require_backups
from ops_workflows.storage.fetch import fetch

_NOT_LISTED = "pg_wal/"  # the manifest lists no segments: they are vouched for by the object's own SHA-256


def checksummed(
    repository: Repository, backup: Backup, log: Log, *, threads: int, progress: Progress = SILENT
) -> Climb:
    """Stream every object through, and compare each file in the archives with the manifest.

    Args:
        repository: Where.
        backup: Which.
        log: What of the log was not read before is read, too.
        threads: Ranges of an object in flight at once.
        progress: Hears how far it is.

    Raises:
        ConfigurationError: It is encrypted and no key of ours opens it, so nothing is known.
        StorageError: The bucket did not answer, so nothing is known.
    """
    require_backups(repository, [backup])
    try:
        files, read = _compare(repository, backup, threads, progress)
        pieces = log.read(backup)
    except IntegrityError as error:
        return Climb(Rung.CHECKSUMMED, False, str(error))
    finding = f"{files:,} files with {read:,} bytes hash to what the manifest says, {pieces:,} objects of the log too."
    return Climb(Rung.CHECKSUMMED, True, finding, {"files": files, "bytes": read, "wal_objects": pieces})


def with_log(backup: Backup, log: Log, known: Climb) -> Climb:
    """What was shown before of a backup itself, if the log that leads away from it is whole.

    Raises:
        ConfigurationError: Some of the log is encrypted and no key of ours opens it, so nothing is known.
        StorageError: The bucket did not answer, so nothing is known.
    """
    try:
        log.read(backup)
    except IntegrityError as error:
        return Climb(Rung.CHECKSUMMED, False, str(error))
    return known


def _compare(repository: Repository, backup: Backup, threads: int, progress: Progress) -> tuple[int, int]:
    archives = backup.archives()
    small = {stored.name: _whole(repository, backup, stored) for stored in backup.objects if stored not in archives}
    expected = parse_manifest(small[backup.object(MANIFEST).name], repository.layout.backup(backup.id, MANIFEST))
    listed, read = len(expected), 0
    progress.begin("checksum", sum(stored.size for stored in archives))
    fetched = 0

    def advance(size: int) -> None:
        nonlocal fetched
        fetched += size
        progress.advance(fetched)

    for stored in archives:
        prefix = _prefix(stored)
        with members(repository, backup, stored, threads=threads, progress=advance) as contents:
            for member, pieces in contents:
                digest = hashlib.sha256()
                for piece in pieces:
                    digest.update(piece)
                if member.isreg():
                    name = prefix + member.name
                    _check(stored, name, member.size, digest.hexdigest(), expected.pop(name, None))
                    read += member.size
    if expected:
        raise IntegrityError(
            f"{next(iter(expected))} is in the manifest of backup {backup.id} and in no archive of it."
        )
    return listed, read


def _whole(repository: Repository, backup: Backup, stored: StoredArchive) -> bytes:
    key = repository.layout.backup(backup.id, stored.name)
    return b"".join(fetch(repository.store, key, size=stored.size, sha256=stored.sha256, threads=1))


def _prefix(stored: StoredArchive) -> str:
    oid = stored.name.partition(".")[0]
    return "" if oid == "base" else f"pg_tblspc/{oid}/"


def _check(stored: StoredArchive, name: str, size: int, sha256: str, expected: ManifestFile | None) -> None:
    if expected is None:
        if name.startswith(_NOT_LISTED):
            return
        raise IntegrityError(f"{name} in {stored.name} is not in the manifest.")
    if size != expected.size or sha256 != expected.sha256:
        raise IntegrityError(f"{name} in {stored.name} does not hash to what the manifest says: it is altered.")
