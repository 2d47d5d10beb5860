"""What there is of a backup to look at, as a digest: the same as long as nothing of it has changed in the bucket."""

import hashlib
from collections.abc import Mapping

from ops_workflows.errors import IntegrityError
from ops_workflows.repository.backup import Backup
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.layout import RECORD
from ops_workflows.storage.objects import StoredObject


def listed(repository: Repository) -> dict[str, StoredObject]:
    """The objects of all backups, by key.

    Raises:
        StorageError: The bucket did not answer.
    """
    return {found.key: found for found in repository.store.objects(repository.layout.backups)}


def digest(repository: Repository, backup: Backup, there: Mapping[str, StoredObject] | None = None) -> str:
    """Of the objects of a backup and of those that it builds on: their names, sizes and version tags.

    Args:
        repository: Where.
        backup: Which.
        there: From `listed`. Default: the bucket is asked.

    Raises:
        StorageError: The bucket did not answer.
    """
    there = listed(repository) if there is None else there
    try:
        chain = repository.chain(backup)
    except IntegrityError:  # one of them is gone: `restored` will say so
        chain = (backup,)
    names = [(link.id, name) for link in chain for name in (RECORD, *(each.name for each in link.objects))]
    found = (there.get(repository.layout.backup(*name)) for name in names)
    lines = [f"{each.key} {each.size} {each.etag}" for each in found if each is not None]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
