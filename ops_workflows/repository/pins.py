"""Pins: a backup that a person wants kept, whatever the policy says. A pin lies beside the backup, as `pin.json`."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from ops_workflows.errors import RefusedError
from ops_workflows.repository.backup import read, utc_now
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.layout import RECORD

PIN = "pin.json"


class Pin(BaseModel):
    """Why a backup is to be kept, and since when."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    backup_id: str
    reason: str = Field("", description="A person's words.")
    at: datetime = Field(description="When it was pinned.")


def pin(repository: Repository, backup_id: str, reason: str = "") -> Pin:
    """Keep a backup until it is unpinned; a later reason replaces an earlier one.

    Args:
        repository: Where it is.
        backup_id: Its id, or `latest`.
        reason: Why.

    Raises:
        RefusedError: There is no such backup, or it was let go at the same moment.
        StorageError: The bucket did not take the pin.
    """
    made = Pin(backup_id=repository.find(backup_id).id, reason=reason, at=utc_now())
    key = repository.layout.backup(made.backup_id, PIN)
    repository.store.put(key, made.model_dump_json(indent=2).encode())
    if repository.store.head(repository.layout.backup(made.backup_id, RECORD)) is None:
        repository.store.delete([key])
        raise RefusedError(f"Backup {made.backup_id} was let go while it was being pinned: see `ops backups`.")
    return made


def unpin(repository: Repository, backup_id: str) -> str | None:
    """Leave a backup to the policy again.

    Returns:
        Its id; None if it was not pinned.

    Raises:
        RefusedError: There is no such backup.
        StorageError: The bucket did not answer.
    """
    found = repository.find(backup_id).id
    if not is_pinned(repository, found):
        return None
    repository.store.delete([repository.layout.backup(found, PIN)])
    return found


def is_pinned(repository: Repository, backup_id: str) -> bool:
    """Whether a backup is pinned at this moment."""
    return repository.store.head(repository.layout.backup(backup_id, PIN)) is not None


def pins(repository: Repository) -> dict[str, Pin]:
    """All pins, by the id of their backup.

    Raises:
        IntegrityError: One cannot be read.
        StorageError: The bucket did not answer.
    """
    layout, store = repository.layout, repository.store
    keys = [found.key for found in store.objects(layout.backups) if found.key.endswith(f"/{PIN}")]
    return {layout.backup_id(key): read(Pin, store.get(key), key) for key in keys}
