"""Where things lie in the bucket. Nothing else builds a key by hand; docs/repository-format.md describes the same.

<prefix>/<system identifier>/backups/<backup id>/base.tar.zst  <oid>.tar.zst  backup_manifest  rows.json  backup.json
"""

import re
import secrets
from dataclasses import dataclass
from datetime import datetime

from ops_workflows.errors import RefusedError

MANIFEST = "backup_manifest"
ROWS = "rows.json"
RECORD = "backup.json"  # written last: a backup without it does not exist
_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{4}")


def new_backup_id(now: datetime) -> str:
    """A name that sorts by time, such as `20260131T020000Z-7c1e`; the end keeps two within a second apart."""
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


@dataclass(frozen=True, slots=True)
class Layout:
    """The keys of one cluster.

    Attributes:
        prefix: Of the repository, without a slash at the end; may be empty.
        system: PostgreSQL's system identifier.
    """

    prefix: str
    system: str

    @property
    def root(self) -> str:
        """What all keys of the cluster begin with."""
        return f"{systems(self.prefix)}{self.system}/"

    @property
    def backups(self) -> str:
        """What the keys of all backups begin with."""
        return f"{self.root}backups/"

    @property
    def dumps(self) -> str:
        """What the keys of all dumps begin with."""
        return f"{self.root}dumps/"

    @property
    def wal(self) -> str:
        """What the keys of all WAL begin with."""
        return f"{self.root}wal/"

    def backup(self, backup_id: str, name: str = "") -> str:
        """The key of one of a backup's objects, or what all of them begin with.

        Raises:
            RefusedError: `backup_id` is not of the form that `new_backup_id` gives.
        """
        if not _ID.fullmatch(backup_id):
            raise RefusedError(
                f"{backup_id!r} is no backup id: they look like 20260131T020000Z-7c1e. See `ops backups`."
            )
        return f"{self.backups}{backup_id}/{name}"

    def proofs(self, backup_id: str = "") -> str:
        """What the keys of all proofs, or those of one backup, begin with."""
        return f"{self.root}proofs/" + (f"{backup_id}/" if backup_id else "")

    def proof(self, backup_id: str, at: datetime, what: str) -> str:
        """The key of one proof; keys of a backup's proofs sort by time."""
        return f"{self.proofs(backup_id)}{at:%Y%m%dT%H%M%S.%fZ}-{what}.json"

    @property
    def canaries(self) -> str:
        """What the keys of all canaries begin with."""
        return f"{self.root}canaries/"

    @property
    def drills(self) -> str:
        """What the keys of all drills' evidence begin with."""
        return f"{self.root}drills/"

    @property
    def rehearsals(self) -> str:
        """What the keys of all rehearsals of migrations begin with."""
        return f"{self.root}rehearsals/"

    @property
    def exports(self) -> str:
        """What the keys of all data that was exported for good begin with."""
        return f"{self.root}exports/"

    def restores(self, backup_id: str = "") -> str:
        """What the keys of all leases, or those on one backup or dump, begin with."""
        return f"{self.root}restores/" + (f"{backup_id}/" if backup_id else "")

    def backup_id(self, key: str) -> str:
        """Which backup a key below `backups` belongs to."""
        return key[len(self.backups) :].partition("/")[0]


def systems(prefix: str) -> str:
    """What all keys of a repository begin with: the clusters' identifiers come next."""
    return f"{prefix}/" if prefix else ""


def probes(prefix: str) -> str:
    """What the keys of objects begin with that health checks store and delete at once; they are of no cluster."""
    return f"{systems(prefix)}health/"
