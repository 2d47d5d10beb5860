"""Deleting what a retention plan names, in an order that may be broken off anywhere.

Of a backup or a dump its record goes first, so that what is left is no backup; of the log the oldest goes first, so
that what is left has no hole. What somebody has pinned or begun to restore meanwhile stays.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from itertools import batched

from ops_workflows.backup.debris import sweep_debris, sweep_versions
from ops_workflows.progress import SILENT, Progress
from ops_workflows.repository.backup import utc_now
from ops_workflows.repository.backup_facts import ancestors
from ops_workflows.repository.canaries import canaries_since, sweep_canaries
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.dumps import RECORD as DUMP_RECORD
from ops_workflows.repository.layout import RECORD
from ops_workflows.repository.leases import is_leased, sweep_leases
from ops_workflows.repository.log_ledger import sweep_log_ledger
from ops_workflows.repository.pins import is_pinned
from ops_workflows.repository.retention import RetentionPlan
from ops_workflows.settings import Settings

_BATCH = 500


@dataclass(frozen=True, slots=True)
class Enforced:
    """What became of a plan.

    Attributes:
        plan: What was meant to be done.
        backups: Ids of the backups that were let go.
        wal_objects: How many WAL objects were deleted.
        versions: How many old versions and delete markers were deleted for good.
        said: What else happened, a sentence each.
        dumps: Ids of the dumps that were let go.
    """

    plan: RetentionPlan
    backups: tuple[str, ...]
    wal_objects: int
    versions: int
    said: tuple[str, ...]
    dumps: tuple[str, ...] = ()


def let_go(
    settings: Settings,
    repository: Repository,
    todo: RetentionPlan,
    progress: Progress = SILENT,
    *,
    hold: Callable[[], None] = lambda: None,
    dumps: bool = True,
) -> Enforced:
    """Carry a plan out, and sweep what nobody needs.

    Args:
        settings: For how long debris and old versions stay.
        repository: Where.
        todo: The plan.
        progress: Hears how far it is, and of what else happened.
        hold: Called before each step; raises when somebody else may be at work by now.
        dumps: Whether dumps may be touched: false while one is being made.

    Raises:
        StorageError: The bucket refused a deletion. What was deleted until then stays so; run it again.
    """
    now, removal = utc_now(), _Removal(repository, hold, progress)
    backups, spared = removal.remove_backups(todo)
    wal_objects = 0 if spared else removal.remove_wal(todo)
    said = [f"Backup {backup_id} was {why} meanwhile and stays, with all WAL." for backup_id, why in spared.items()]
    gone_dumps = removal.remove_dumps(todo) if dumps else []
    hold()
    said += sweep_leases(repository, now)
    if todo.kept:
        sweep_canaries(repository, canaries_since(todo.kept[0].finished_at))
    sweep_log_ledger(repository, now - 2 * timedelta(days=settings.proof_days))
    said += sweep_debris(repository, now, settings.keep_debris_hours, dumps=dumps)
    versions, kept = sweep_versions(repository, now, settings.keep_versions_days, hold)
    said += kept
    for sentence in said:
        progress.say(sentence)
    return Enforced(todo, tuple(backups), wal_objects, versions, tuple(said), tuple(gone_dumps))


class _Removal:
    def __init__(self, repository: Repository, hold: Callable[[], None], progress: Progress) -> None:
        self._store = repository.store
        self._layout = repository.layout
        self._repository = repository
        self._hold = hold
        self._progress = progress

    def remove_backups(self, todo: RetentionPlan) -> tuple[list[str], dict[str, str]]:
        """Delete the backups that go; the ids of those deleted, and why others have been spared at the last moment."""
        gone = {backup.id: backup for backup in todo.gone}
        removed: list[str] = []
        why: dict[str, str] = {}
        spared: set[str] = set()  # those, and what they build on
        self._progress.begin("let backups go", sum(backup.stored_bytes for backup in gone.values()) or None)
        freed = 0
        for backup in gone.values():
            self._hold()
            if backup.id in spared:
                continue
            if meanwhile := self._let_go(backup.id):
                why[backup.id] = meanwhile
                spared |= {backup.id, *(parent.id for parent in ancestors(backup, gone))}
                continue
            removed.append(backup.id)
            freed += backup.stored_bytes
            self._progress.advance(freed)
        return removed, why

    def _let_go(self, backup_id: str) -> str | None:
        """Delete a backup, unless somebody wants it at the last moment: then it is left, and why is returned.

        Whoever pins or leases it looks afterwards whether its record is still there. So the wish is looked for once
        more when the record has gone, and then the record is put back: one of the two sees the other.
        """
        if wish := self._wish(backup_id):
            return wish
        key = self._layout.backup(backup_id, RECORD)
        record = self._store.get(key)
        self._store.delete([key])
        if wish := self._wish(backup_id):
            self._store.put(key, record, if_absent=True, lock=True)
            return wish
        self._store.delete(found.key for found in self._store.objects(self._layout.backup(backup_id)))
        return None

    def _wish(self, backup_id: str) -> str | None:
        if is_pinned(self._repository, backup_id):
            return "pinned"
        return "being restored" if is_leased(self._repository, backup_id, utc_now()) else None

    def remove_dumps(self, todo: RetentionPlan) -> list[str]:
        """Delete the dumps that go and that nobody is restoring; their ids."""
        self._progress.begin("let dumps go", sum(dump.stored_bytes for dump in todo.gone_dumps) or None)
        removed, freed = [], 0
        for dump in todo.gone_dumps:
            self._hold()
            if is_leased(self._repository, dump.id, utc_now()):
                continue
            self._remove(f"{self._layout.dumps}{dump.id}/", DUMP_RECORD)
            removed.append(dump.id)
            freed += dump.stored_bytes
            self._progress.advance(freed)
        return removed

    def remove_wal(self, todo: RetentionPlan) -> int:
        """Delete the WAL that goes; how many objects."""
        self._progress.begin("let WAL go", len(todo.wal) or None, "objects")
        done = 0
        for batch in batched(todo.wal, _BATCH):
            self._hold()
            done += self._store.delete(piece.key for piece in batch)
            self._progress.advance(done)
        return done

    def _remove(self, folder: str, record: str) -> None:
        self._store.delete([folder + record])
        self._store.delete(found.key for found in self._store.objects(folder))
