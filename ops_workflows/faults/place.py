"""Where the suite works: a prefix of its own in the same bucket, or a folder beside the other; gone afterwards."""

import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ops_workflows.progress import SILENT, Progress
from ops_workflows.settings import Settings
from ops_workflows.storage.store import ObjectStore, open_store

_MARK = "-faults-"
_ABANDONED = timedelta(days=1)  # without a change, what a killed suite has left is removed by the next
_NO_MATTER = ("standby_dsn", "owner_dsn", "system", "age_identity_file", "mirror_url", "primary_data_dir")


@contextmanager
def place_of_its_own(settings: Settings, progress: Progress = SILENT) -> Iterator[Settings]:
    """Settings that lead to a new place, for the length of a `with`; all that is there then is removed.

    Args:
        settings: Bucket or folder, programs, scratch folder; the database that they name is left alone.
        progress: Hears of what killed predecessors left, which is removed first.

    Raises:
        ConfigurationError: They name neither bucket nor folder.
        StorageError: It did not answer, or refuses us.
    """
    token = secrets.token_hex(4)
    folder = settings.repository_folder
    if folder is None:
        own = _settings(settings, s3_prefix=f"{settings.s3_prefix}{_MARK}{token}".lstrip("-"))
    else:
        own = _settings(settings, repository_url=folder.with_name(f"{folder.name}{_MARK}{token}").as_uri())
    _sweep(settings, progress)
    try:
        if own.repository_folder is not None:
            own.repository_folder.mkdir()
        yield own
    finally:
        if own.repository_folder is not None:
            shutil.rmtree(own.repository_folder, ignore_errors=True)
        else:
            _empty(open_store(own), f"{own.s3_prefix}/")


def _settings(settings: Settings, **place: str) -> Settings:
    """What does not matter is left out; nothing is locked, for it has to go again."""
    update = dict.fromkeys(_NO_MATTER) | place
    fixed = {"age_recipients": "", "s3_object_lock_mode": "none", "backup_count_rows": True, "backup_longest_chain": 7}
    fixed |= {"rpo_objective_seconds": 1}  # canaries that are older must be in the log
    return settings.model_copy(update=update | fixed)


def _empty(store: ObjectStore, prefix: str) -> None:
    """Remove objects, pending uploads, and in a versioned bucket what it keeps of them."""
    for pending in store.pending_uploads(prefix):
        store.abort_upload(pending.key, pending.upload_id)
    store.delete([found.key for found in store.objects(prefix)])
    store.delete_versions(list(store.versions(prefix)))


def _sweep(settings: Settings, progress: Progress) -> None:
    before = datetime.now(UTC) - _ABANDONED
    folder = settings.repository_folder
    if folder is not None:
        for found in folder.parent.glob(f"{folder.name}{_MARK}*"):
            if _is_ours(found.name, folder.name) and _newest(found) < before:
                shutil.rmtree(found)
                progress.say(f"Removed {found}, left by a fault suite that was killed.")
        return
    store = open_store(settings)
    above, slash, name = settings.s3_prefix.rpartition("/")
    for each in store.folders(f"{above}{slash}"):
        prefix = f"{above}{slash}{each}/"
        times = (found.modified for found in store.objects(prefix)) if _is_ours(each, name) else ()
        if (newest := max((time for time in times if time), default=None)) and newest < before:
            _empty(store, prefix)
            progress.say(f"Removed {prefix}, left by a fault suite that was killed.")


def _is_ours(name: str, of: str) -> bool:
    return re.fullmatch(rf"{re.escape(f'{of}{_MARK}'.lstrip('-'))}[0-9a-f]{{8}}", name) is not None


def _newest(folder: Path) -> datetime:
    times = (path.stat().st_mtime for path in (folder, *folder.rglob("*")))
    return datetime.fromtimestamp(max(times), UTC)
