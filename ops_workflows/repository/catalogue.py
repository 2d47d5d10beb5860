"""The catalogue: which backups there are. It is read from the bucket alone, for on the day that counts that is all."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from ops_workflows.errors import IntegrityError, RefusedError
from ops_workflows.repository.backup import Backup, RowsRecord, read
from ops_workflows.repository.layout import RECORD, ROWS, Layout, systems
from ops_workflows.repository.records import Catalogue, read_record, read_records
from ops_workflows.settings import Settings
from ops_workflows.storage.codec import Codec, decompress
from ops_workflows.storage.encryption import Keys
from ops_workflows.storage.store import ObjectStore, open_store


@dataclass(frozen=True, slots=True)
class Repository:
    """The backups of one cluster in one bucket or folder.

    Attributes:
        store: Where its objects are.
        layout: What they are called.
        keys: With which keys they are encrypted and read.
    """

    store: ObjectStore
    layout: Layout
    keys: Keys = field(default_factory=Keys)

    def catalogue(self) -> Catalogue[Backup]:
        """What backups there are, and which of them have a record that cannot be read.

        Raises:
            StorageError: The bucket did not answer.
        """
        keys = [found.key for found in self.store.objects(self.layout.backups) if found.key.endswith(f"/{RECORD}")]
        return read_records(Backup, self.store, keys)

    def backups(self) -> list[Backup]:
        """Every whole backup that can be used, oldest first: its record can be read, and those of all it builds on.

        Raises:
            StorageError: The bucket did not answer.
            IntegrityError: There are backups, and all of them are damaged or build on damaged ones.
        """
        known = self.catalogue()
        lost = unusable(known)
        usable = [backup for backup in known.readable if backup.id not in lost]
        return usable or list(known.complete())

    def find(self, backup_id: str) -> Backup:
        """A backup by its id, or the newest that can be used by the word `latest`.

        Raises:
            RefusedError: There is none, or that is no id.
            IntegrityError: Its record cannot be read.
        """
        if backup_id == "latest":
            backups = self.backups()
            if not backups:
                raise RefusedError(
                    f"There is no backup of {self.layout.system} in {self.store}: take one, `ops backup`."
                )
            return backups[-1]
        key = self.layout.backup(backup_id, RECORD)
        if self.store.head(key) is None:
            raise RefusedError(f"There is no backup {backup_id} in {self.store}: see `ops backups`.")
        return read_record(Backup, self.store, key)

    def chain(self, backup: Backup) -> tuple[Backup, ...]:
        """The backups that together are this one: a full one first, then each incremental one, itself last.

        Raises:
            IntegrityError: One of them is gone, or its record cannot be read.
        """
        links = [backup]
        while (parent := links[0].parent) is not None:
            if self.store.head(self.layout.backup(parent, RECORD)) is None:
                raise IntegrityError(f"Backup {links[0].id} is incremental to {parent}, which is not in {self.store}.")
            try:
                links.insert(0, self.find(parent))
            except IntegrityError as error:
                raise IntegrityError(f"Backup {links[0].id} is incremental to {parent}. {error}") from None
        return tuple(links)

    def rows(self, backup: Backup) -> RowsRecord | None:
        """What its restore must hold; None when that was not counted."""
        if not backup.has(ROWS):
            return None
        key = self.layout.backup(backup.id, ROWS)
        return read(RowsRecord, self.store.get(key), key)

    def log(self, key: str) -> bytes:
        """The bytes of the log that a segment's or a tail's object holds.

        Raises:
            ConfigurationError: It is encrypted, and no key of ours opens it.
            IntegrityError: It is truncated or altered.
            StorageError: It is gone, or the bucket did not answer.
        """
        compressed = self.keys.open(self.store.get(key), key)
        return b"".join(decompress(Codec.ZSTD, [compressed], key))

    def unfinished(self) -> Iterator[str]:
        """Keys of objects that belong to no whole backup: what a backup that was killed left behind."""
        whole, keys = set(), []
        for found in self.store.objects(self.layout.backups):
            keys.append(found.key)
            if found.key.endswith(f"/{RECORD}"):
                whole.add(self.layout.backup_id(found.key))
        return (key for key in keys if self.layout.backup_id(key) not in whole)


def unusable(known: Catalogue[Backup]) -> dict[str, str]:
    """Why some backups cannot be used, a sentence by id: those that are damaged, and all that build on them."""
    lost = dict(known.damaged)
    while found := [each for each in known.readable if each.parent in lost and each.id not in lost]:
        lost |= {each.id: f"Backup {each.id} cannot be used: it builds on {each.parent}." for each in found}
    return lost


def open_repository(settings: Settings, system: str | None = None) -> Repository:
    """The repository that the settings name.

    Args:
        settings: Bucket or folder, prefix, and keys.
        system: The cluster's system identifier. Default: OPS_SYSTEM, or the only one that the bucket knows.

    Raises:
        ConfigurationError: It is not said where it is, or one of its keys is none.
        RefusedError: The bucket knows none, or several and none was chosen.
        StorageError: The bucket did not answer.
    """
    store, prefix = open_store(settings), settings.repository_prefix
    keys = Keys.of(settings.age_recipients, settings.age_identity_file)
    system = system or settings.system
    if system is None:
        known = [name for name in store.folders(systems(prefix)) if name.isdecimal()]
        if not known:
            raise RefusedError(f"{store} holds no backups under {prefix!r}: take one, `ops backup`.")
        if len(known) > 1:
            raise RefusedError(
                f"{store} holds backups of several clusters: choose one, OPS_SYSTEM={' or '.join(known)}."
            )
        system = known[0]
    return Repository(store, Layout(prefix, system), keys)


def require_system(settings: Settings, system: str) -> None:
    """See to it that the repository knows a cluster.

    Raises:
        RefusedError: It does not; the text says which it knows.
        StorageError: The bucket did not answer.
    """
    store = open_store(settings)
    known = [name for name in store.folders(systems(settings.repository_prefix)) if name.isdecimal()]
    if system not in known:
        raise RefusedError(f"{store} knows no cluster {system!r}: it knows {', '.join(known) or 'none'}.")


def sweep(repository: Repository) -> list[str]:
    """Remove what killed backups left: pending uploads and objects of no backup. One sentence for each.

    Only for whoever holds the cluster's backup lock: to everyone else a running backup looks just the same.
    """
    store, layout, said = repository.store, repository.layout, []
    for pending in store.pending_uploads(layout.backups):
        store.abort_upload(pending.key, pending.upload_id)
        said.append(f"Aborted the orphaned upload of {pending.key}, begun {pending.begun:%Y-%m-%d %H:%M:%S} UTC.")
    debris = list(repository.unfinished())
    store.delete(debris)
    said.extend(f"Removed {key}: its backup was never finished." for key in debris)
    return said
