"""`stored`: every object of the backup is in the bucket with the size and the checksum that were sent."""

from collections.abc import Mapping

from ops_workflows.errors import IntegrityError
from ops_workflows.proof.rungs import Climb
from ops_workflows.repository.backup import Backup, StoredArchive
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.rungs import Rung
from ops_workflows.storage.fetch import fetch
from ops_workflows.storage.objects import StoredObject

_THREADS = 2


def stored(repository: Repository, backup: Backup, listed: Mapping[str, StoredObject]) -> Climb:
    """Hold a listing against the backup's record; nothing is read that is as it was.

    The version tag that the bucket gave when it took an object changes with the object, so one that is still the same
    is enough. Where it is another, say in a copy, the bucket is asked for its checksum; and where that is another, too,
    since the copy was made in other parts, the object is read.

    Args:
        repository: Where.
        backup: Which.
        listed: What the bucket lists, by key.

    Raises:
        StorageError: The bucket did not answer, so nothing is known.
    """
    for expected in backup.objects:
        key = repository.layout.backup(backup.id, expected.name)
        if fault := _fault(repository, expected, listed.get(key)):
            return Climb(Rung.STORED, False, f"{expected.name} {fault}.", {"object": expected.name})
    size = backup.stored_bytes
    finding = f"{len(backup.objects)} objects with {size:,} bytes are there, each as it was sent."
    return Climb(Rung.STORED, True, finding, {"objects": len(backup.objects), "bytes": size})


def _fault(repository: Repository, expected: StoredArchive, found: StoredObject | None) -> str | None:
    if found is None:
        return "is missing from the bucket"
    if found.size != expected.size:
        return f"has {found.size:,} bytes and not the {expected.size:,} that were sent"
    if found.etag == expected.etag:
        return None
    asked = repository.store.head(found.key)
    if asked is not None and asked.checksum == expected.checksum:
        return None
    # The same bytes, sent in other parts, have another checksum; and not every S3 server tells one. Only reading helps.
    try:
        for _ in fetch(repository.store, found.key, size=expected.size, sha256=expected.sha256, threads=_THREADS):
            pass
    except IntegrityError:
        return "is no longer the object that was stored: its bytes are others"
    return None
