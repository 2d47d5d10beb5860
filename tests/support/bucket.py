"""What lies in the bucket, looked at and tampered with behind the project's back."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ops_workflows.repository.backup import Backup
from ops_workflows.repository.catalogue import Repository, open_repository
from ops_workflows.repository.layout import systems
from ops_workflows.settings import Settings
from ops_workflows.storage.s3 import open_store
from ops_workflows.storage.upload import Upload


def keys(settings: Settings) -> list[str]:
    """Every object under the settings' prefix."""
    return [found.key for found in open_store(settings).objects(systems(settings.s3_prefix))]


def backup_keys(settings: Settings) -> list[str]:
    return [key for key in keys(settings) if "/backups/" in key]


def pending(settings: Settings) -> list[str]:
    """Every upload under the prefix that was begun and not ended."""
    return [found.key for found in open_store(settings).pending_uploads(systems(settings.s3_prefix))]


def is_clean(settings: Settings) -> bool:
    """Whether nothing of any backup is there: no object, no upload under way."""
    return not backup_keys(settings) and not pending(settings)


def change(repository: Repository, key: str, how: Callable[[bytes], bytes]) -> None:
    """Replace an object by what `how` makes of it."""
    repository.store.put(key, how(repository.store.get(key)))


def named(backup: Backup, name: str) -> str:
    """The full name of one of a backup's objects, whose ending says how it was compressed and encrypted."""
    return next((stored.name for stored in backup.objects if stored.name.startswith(name)), name)


def put_back(repository: Repository, key: str, content: bytes) -> None:
    """Bring an object back just as a backup stores it: records whole, everything else in parts."""
    if key.endswith(".json"):
        repository.store.put(key, content)
        return
    with Upload(repository.store, key, threads=2) as upload:
        upload.write(content)
        upload.finish()


def flipped(content: bytes) -> bytes:
    """One bit is another."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def backup_ids(settings: Settings, system: str) -> list[str]:
    """The backups that the catalogue lists."""
    return [backup.id for backup in open_repository(settings, system).backups()]


@contextmanager
def forbidden(settings: Settings, *actions: str) -> Iterator[None]:
    """Nobody may do these things under the settings' prefix, for the length of a `with`."""
    client, bucket = open_store(settings)._client, settings.require("s3_bucket")
    where = f"arn:aws:s3:::{bucket}/{settings.s3_prefix}/*"
    statement = {"Effect": "Deny", "Principal": "*", "Action": list(actions), "Resource": [where]}
    client.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    try:
        yield
    finally:
        client.delete_bucket_policy(Bucket=bucket)
