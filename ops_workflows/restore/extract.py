"""A backup's objects into a data directory, durably. The directory cannot be started until it is whole.

PostgreSQL does not start without `global/pg_control`, so that file lies under another name until everything else has
been written, synced and verified: a restore that was interrupted cannot be taken for a database.
"""

import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ops_workflows.errors import IntegrityError
from ops_workflows.postgres.account import Account
from ops_workflows.progress import Progress
from ops_workflows.repository.backup import StoredArchive
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.contents import members
from ops_workflows.repository.layout import MANIFEST
from ops_workflows.restore.plan import LINKS, Link, RestorePlan
from ops_workflows.restore.target import sync_folder
from ops_workflows.restore.writer import DurableWriter
from ops_workflows.storage.fetch import fetch

CONTROL = "global/pg_control"
HELD_BACK = "global/pg_control.restoring"


def extract(
    repository: Repository, plan: RestorePlan, *, threads: int, owner: Account | None, progress: Progress
) -> None:
    """Carry out the writing part of a plan: every file and folder is on the disk when it returns.

    Args:
        repository: Where the backup lies.
        plan: What to restore, and where to.
        threads: Ranges to fetch at once.
        owner: Whose the files shall be; None for our own.
        progress: Hears of the compressed bytes as they arrive.

    Raises:
        IntegrityError: An object is missing, truncated or altered.
        StorageError: The bucket did not answer.
        RefusedError: The disk is full.
    """
    progress.begin("fetch and extract", sum(stored.size for link in plan.links for stored in link.backup.archives()))
    fetched = 0

    def advance(size: int) -> None:
        nonlocal fetched
        fetched += size
        progress.advance(fetched)

    folders = _Folders(owner)
    for folder in plan.folders:
        folders.make(folder)
    if len(plan.chain) > 1:
        folders.make(plan.target / LINKS)
    with DurableWriter(owner) as writer:
        for link in plan.links:
            _extract_link(repository, link, writer, folders, threads=threads, advance=advance)
    folders.sync()


def _extract_link(
    repository: Repository,
    link: Link,
    writer: DurableWriter,
    folders: "_Folders",
    *,
    threads: int,
    advance: Callable[[int], None],
) -> None:
    backup = link.backup
    for oid, folder in link.tablespaces.items():
        # The server leaves its links out of the archive, and recovery makes them; whoever verifies comes before that.
        folders.make(folder)
        name = link.target / "pg_tblspc" / str(oid)
        folders.make(name.parent)
        name.symlink_to(folder)
    placing = _Placing(link, writer, folders)
    for stored in backup.archives():
        base = placing.base(stored)
        with members(repository, backup, stored, threads=threads, progress=advance) as content:
            for member, pieces in content:
                placing.place(base, member, pieces)
    manifest = backup.object(MANIFEST)
    key = repository.layout.backup(backup.id, MANIFEST)
    ranges = fetch(repository.store, key, size=manifest.size, sha256=manifest.sha256, threads=1)
    folders.make(link.target)
    writer.write(link.target / MANIFEST, 0o600, ranges)


@dataclass(frozen=True, slots=True)
class _Placing:
    """Puts the members of archives where they belong."""

    link: Link
    writer: DurableWriter
    folders: "_Folders"

    def base(self, stored: StoredArchive) -> Path:
        """The folder that an archive is extracted into."""
        places = {"base": self.link.target} | {str(oid): place for oid, place in self.link.tablespaces.items()}
        place = places.get(stored.name.partition(".")[0])
        if place is None:
            raise IntegrityError(
                f"Backup {self.link.backup.id} lists {stored.name}, which is of none of its tablespaces: its record is "
                "not what was stored."
            )
        return place

    def place(self, base: Path, member: tarfile.TarInfo, pieces: Iterator[memoryview]) -> None:
        name = PurePosixPath(member.name)
        if name.is_absolute() or ".." in name.parts:
            raise self._unexpected(member, "outside of its directory")
        path = base / name
        if member.isdir():
            self.folders.make(path, member.mode & 0o750)
        elif member.isreg():
            self.folders.make(path.parent)
            held_back = base == self.link.target and member.name == CONTROL
            self.writer.write(base / HELD_BACK if held_back else path, member.mode & 0o640, pieces)
        else:
            raise self._unexpected(member, "which is neither file nor folder")

    def _unexpected(self, member: tarfile.TarInfo, why: str) -> IntegrityError:
        return IntegrityError(f"Backup {self.link.backup.id} holds {member.name!r}, {why}: it is not extracted.")


class _Folders:
    """Makes folders once each, and syncs them all at the end."""

    def __init__(self, owner: Account | None) -> None:
        self._owner = owner
        self._made: set[Path] = set()

    def make(self, folder: Path, mode: int = 0o700) -> None:
        if folder in self._made:
            return
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(mode)
        if self._owner is not None:
            os.chown(folder, self._owner.uid, self._owner.gid)
        self._made.add(folder)

    def sync(self) -> None:
        for folder in self._made:
            sync_folder(folder)
            sync_folder(folder.parent)
