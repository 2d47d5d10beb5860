"""All that a repository holds of one cluster, as retention and the mirror want to know it: facts, without the bucket.

Names are keys below the cluster's root, so that what two repositories hold can be laid side by side.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ops_workflows.errors import IntegrityError
from ops_workflows.repository.backup import Backup
from ops_workflows.repository.backup_facts import BackupFacts
from ops_workflows.repository.dump import Dump
from ops_workflows.repository.exports import Export
from ops_workflows.repository.periods import Policy
from ops_workflows.repository.retention import RetentionPlan, plan
from ops_workflows.repository.retention_dumps import DumpFacts
from ops_workflows.repository.wal import Branch, WalListing
from ops_workflows.repository.wal_need import WalFacts
from ops_workflows.storage.objects import StoredObject

WAL = "wal/"
_RESTORABLE = "restorable"


@dataclass(frozen=True, slots=True)
class Holdings:
    """What there is.

    Attributes:
        objects: Bytes of each object, by its name.
        backups: The whole ones.
        dumps: The whole ones.
        exports: Those whose record can be read.
        proofs: Of each backup and dump, whether the last attempt at each thing passed.
        pins: The reason of each pin, by the id of its backup.
        branches: Of each timeline whose history file is there, its ancestors.
        restoring: Ids of what somebody is restoring.
    """

    objects: Mapping[str, int] = field(default_factory=dict)
    backups: tuple[Backup, ...] = ()
    dumps: tuple[Dump, ...] = ()
    exports: tuple[Export, ...] = ()
    proofs: Mapping[str, Mapping[str, bool]] = field(default_factory=dict)
    pins: Mapping[str, str] = field(default_factory=dict)
    branches: Mapping[int, Sequence[Branch]] = field(default_factory=dict)
    restoring: frozenset[str] = frozenset()

    def listing(self, root: str) -> WalListing:
        """The log that is there.

        Args:
            root: What its keys are to begin with.

        Raises:
            IntegrityError: The backups disagree on the size of a segment, so no name says where its segment begins.
        """
        sizes = {backup.wal_segment_bytes for backup in self.backups}
        if len(sizes) > 1:
            raise IntegrityError("The backups have WAL segments of different sizes, under the same names.")
        if not sizes:
            return WalListing(())
        found = (StoredObject(root + name, size, "") for name, size in self._wal())
        return WalListing.of(found, root + WAL, sizes.pop())

    def plan(self, policy: Policy, now: datetime, root: str = "") -> RetentionPlan:
        """What retention does with it.

        Args:
            policy: How much to keep.
            now: The present moment.
            root: What the keys of the plan are to begin with.

        Raises:
            IntegrityError: The backups disagree on the size of a segment.
        """
        log = WalFacts(self.listing(root), self.branches, {root + name: size for name, size in self._wal()})
        backups = (self._backup(backup) for backup in self.backups)
        dumps = (self._dump(dump) for dump in self.dumps)
        return plan(backups, log, self.pins, policy, now, dumps=dumps, restoring=self.restoring)

    def _wal(self) -> list[tuple[str, int]]:
        return [(name, size) for name, size in self.objects.items() if name.startswith(WAL)]

    def _backup(self, backup: Backup) -> BackupFacts:
        return BackupFacts(
            id=backup.id,
            finished_at=backup.finished_at,
            timeline=backup.timeline,
            start_lsn=backup.start_lsn,
            stop_lsn=backup.stop_lsn,
            parent=backup.parent,
            stored_bytes=backup.stored_bytes,
            proofs=self.proofs.get(backup.id, {}),
        )

    def _dump(self, dump: Dump) -> DumpFacts:
        return DumpFacts(
            id=dump.id,
            finished_at=dump.finished_at,
            databases=frozenset(database.name for database in dump.databases),
            left_out=frozenset(dump.left_out),
            stored_bytes=dump.stored_bytes,
            restorable=self.proofs.get(dump.id, {}).get(_RESTORABLE),
        )
