"""`stored`: every object of the backup is in the bucket with the size and the checksum that were sent."""

from ops_workflows.proof.rungs import Climb, Rung
from ops_workflows.repository.backup import Backup, StoredArchive
from ops_workflows.repository.catalogue import Repository
from ops_workflows.storage.objects import StoredObject


def stored(repository: Repository, backup: Backup) -> Climb:
    """Ask the bucket about each object; nothing is read.

    Raises:
        StorageError: The bucket did not answer, so nothing is known.
    """
    seen = 0
    for expected in backup.objects:
        found = repository.store.head(repository.layout.backup(backup.id, expected.name))
        if fault := _fault(expected, found):
            return Climb(Rung.STORED, False, f"{expected.name} {fault}.", {"object": expected.name})
        seen += expected.size
    finding = f"{len(backup.objects)} objects with {seen:,} bytes are there, each as it was sent."
    return Climb(Rung.STORED, True, finding, {"objects": len(backup.objects), "bytes": seen})


def _fault(expected: StoredArchive, found: StoredObject | None) -> str | None:
    if found is None:
        return "is missing from the bucket"
    if found.size != expected.size:
        return f"has {found.size:,} bytes and not the {expected.size:,} that were sent"
    # Not every S3 server tells a checksum; each tells a version tag, which changes with the object.
    if found.checksum is not None and found.checksum != expected.checksum:
        return "has another checksum than the one that was sent"
    if found.checksum is None and found.etag != expected.etag:
        return "is no longer the object that was stored: its version tag differs"
    return None
