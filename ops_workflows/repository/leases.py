"""Leases: whoever reads a backup for long says so in the repository, and retention leaves it alone meanwhile.

`restores/<backup id>/<random>.json` is stored again every ten minutes and holds for an hour after it was last stored,
by the repository's clock. A reader that was killed therefore holds up nothing for longer than that.
"""

import os
import secrets
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict

from ops_workflows.errors import RefusedError, StorageError
from ops_workflows.progress import SILENT, Progress
from ops_workflows.repository.backup import utc_now
from ops_workflows.repository.catalogue import Repository
from ops_workflows.storage.objects import StoredObject

HOLDS = timedelta(hours=1)
RENEWED_EVERY = timedelta(minutes=10)


class Lease(BaseModel):
    """Who reads a backup, for a person who looks; what counts is when the object was stored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    backup_id: str
    host: str
    process: int
    renewed_at: datetime


@contextmanager
def reading(repository: Repository, records: Iterable[tuple[str, str]], progress: Progress = SILENT) -> Iterator[None]:
    """Keep retention from what is read inside a `with`.

    A repository that cannot be written is read all the same: that is said, once.

    Args:
        repository: Where it lies.
        records: Of each backup, its id and the key of its record.
        progress: Hears that it could not be.

    Raises:
        RefusedError: One of them was let go just now.
    """
    wanted = dict(records)
    name = f"{secrets.token_hex(8)}.json"
    keys = {backup_id: f"{repository.layout.restores(backup_id)}{name}" for backup_id in wanted}
    stop = threading.Event()
    renewing = threading.Thread(target=_renew, args=(repository, keys, stop), name="lease", daemon=True)
    try:
        _store(repository, keys)
    except StorageError as error:
        progress.say(f"Retention may let go of what is read now, for it cannot be told of it: {error}")
    else:
        renewing.start()
    try:
        for backup_id, record in wanted.items():
            if repository.store.head(record) is None:
                raise RefusedError(f"Backup {backup_id} is not in {repository.store} any more: see `ops backups`.")
        yield
    finally:
        stop.set()
        if renewing.ident is not None:
            renewing.join()
            with suppress(StorageError):  # it expires by itself
                repository.store.delete(keys.values())


def leased(repository: Repository, now: datetime) -> set[str]:
    """Ids of what is being read.

    Raises:
        StorageError: The repository did not answer.
    """
    prefix = repository.layout.restores()
    return {_backup_id(found, prefix) for found in repository.store.objects(prefix) if not _is_expired(found, now)}


def is_leased(repository: Repository, backup_id: str, now: datetime) -> bool:
    """Whether a backup is being read at this moment."""
    return any(not _is_expired(found, now) for found in repository.store.objects(repository.layout.restores(backup_id)))


def sweep_leases(repository: Repository, now: datetime) -> list[str]:
    """Delete the leases of readers that were killed. One sentence for each."""
    prefix = repository.layout.restores()
    expired = [found for found in repository.store.objects(prefix) if _is_expired(found, now)]
    repository.store.delete(found.key for found in expired)
    return [f"Removed an expired lease on {_backup_id(found, prefix)}: its reader was killed." for found in expired]


def _backup_id(found: StoredObject, prefix: str) -> str:
    return found.key[len(prefix) :].partition("/")[0]


def _is_expired(found: StoredObject, now: datetime) -> bool:
    return found.modified is not None and found.modified + HOLDS < now


def _renew(repository: Repository, keys: dict[str, str], stop: threading.Event) -> None:
    while not stop.wait(RENEWED_EVERY.total_seconds()):
        with suppress(StorageError):  # an outage: it is tried again long before the lease ends
            _store(repository, keys)


def _store(repository: Repository, keys: dict[str, str]) -> None:
    for backup_id, key in keys.items():
        made = Lease(backup_id=backup_id, host=socket.gethostname(), process=os.getpid(), renewed_at=utc_now())
        repository.store.put(key, made.model_dump_json(indent=2).encode())
