"""What nobody needs and nobody lists: leftovers of whatever was killed, and old versions in a versioned bucket.

Both go by age. In the repository that backups are taken into, the cluster's locks say besides that none is being taken;
in its mirror, into which anybody may be copying at any time, the age is all there is.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import batched

from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.drills import DRILL
from ops_workflows.repository.dumps import RECORD as DUMP_RECORD
from ops_workflows.repository.layout import RECORD
from ops_workflows.storage.objects import StoredObject
from ops_workflows.storage.versions import expired

_KEYS_AT_ONCE = 200


def sweep_debris(repository: Repository, now: datetime, hours: float, *, dumps: bool = True) -> list[str]:
    """Abort orphaned uploads and remove the objects of what was never finished. One sentence for each.

    Args:
        repository: Where.
        now: The present moment.
        hours: What is younger stays.
        dumps: Whether those of dumps may go too: false while one is being made.
    """
    before, layout = now - timedelta(hours=hours), repository.layout
    said = _abort_uploads(repository, before, dumps=dumps)
    said += _sweep(repository, layout.backups, RECORD, "backup", before)
    said += _sweep(repository, layout.drills, DRILL, "drill", before)
    return said + (_sweep(repository, layout.dumps, DUMP_RECORD, "dump", before) if dumps else [])


def _abort_uploads(repository: Repository, before: datetime, *, dumps: bool) -> list[str]:
    """Of whatever it be: in a folder, each object that is stored is an upload first."""
    store, layout, said = repository.store, repository.layout, []
    for pending in list(store.pending_uploads(layout.root)):
        if pending.begun < before and (dumps or not pending.key.startswith(layout.dumps)):
            store.abort_upload(pending.key, pending.upload_id)
            said.append(f"Aborted the orphaned upload of {pending.key}, begun {pending.begun:%Y-%m-%d %H:%M:%S} UTC.")
    return said


def _sweep(repository: Repository, prefix: str, record: str, what: str, before: datetime) -> list[str]:
    store, said = repository.store, []
    for name, found in _by_folder(repository, prefix):
        whole = any(each.key.endswith(f"/{record}") for each in found)
        if not whole and all(each.modified is not None and each.modified < before for each in found):
            store.delete(each.key for each in found)
            said.append(f"Removed {len(found)} objects of {what} {name}, which was never finished or was let go.")
    return said


def _by_folder(repository: Repository, prefix: str) -> Iterator[tuple[str, list[StoredObject]]]:
    folders: dict[str, list[StoredObject]] = {}
    for found in repository.store.objects(prefix):
        folders.setdefault(found.key[len(prefix) :].partition("/")[0], []).append(found)
    yield from folders.items()


def sweep_versions(
    repository: Repository, now: datetime, days: float, hold: Callable[[], None]
) -> tuple[int, list[str]]:
    """Delete for good what a versioned bucket still has of objects that were replaced or deleted long ago.

    Args:
        repository: Where.
        now: The present moment.
        days: What was replaced or deleted later than so many days ago stays, so that a mistake can be undone.
        hold: Called before each batch; raises when the lock is lost.

    Returns:
        How many versions and markers were deleted, and a sentence on those that the bucket keeps.
    """
    store, layout = repository.store, repository.layout
    if not store.is_versioned():
        return 0, []
    deleted, kept = 0, list[tuple[str, str]]()
    for prefix in (layout.backups, layout.dumps, layout.wal, layout.proofs(), layout.restores(), layout.canaries):
        for batch in batched(expired(store.versions(prefix), now - timedelta(days=days)), _KEYS_AT_ONCE):
            hold()
            old = [version for each in batch for version in each.old]
            refused = store.delete_versions(old)
            hiding = {key for key, _ in refused}
            markers = [each.marker for each in batch if each.marker is not None and each.key not in hiding]
            refused += store.delete_versions(markers)
            deleted += len(old) + len(markers) - len(refused)
            kept += refused
    if not kept:
        return deleted, []
    key, why = kept[0]
    said = (
        f"The bucket keeps {len(kept)} old versions, such as one of {key}: {why.rstrip('.')}. "
        "Object lock may say so, or this key may not delete versions."
    )
    return deleted, [said]
