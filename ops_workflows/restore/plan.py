"""What a restore is going to do, decided before anything is touched: a pure function from facts to a plan."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

from ops_workflows.errors import RefusedError
from ops_workflows.repository.backup import Backup
from ops_workflows.restore.choose import Route
from ops_workflows.restore.target import Folder

_MARGIN = 1.05  # of the database's size: file systems need room for themselves
_MiB = 1024**2
_GiB = 1024**3
_MOST_WAL = 5 * _GiB  # that lies on the disk at once: what recovery keeps until its next restart point, and a little
# pg_verifybackup and recovery start programs through a shell, whose words the first five end or change; "%" does so to
# a restore_command and "," to a list of folders; a pid file has lines; and a lone surrogate is a byte that is no UTF-8.
_SPOILING = re.compile(r"""["'$`\\%,\x00-\x1f\x7f\ud800-\udfff]""")

LINKS = ".ops_links"  # below the target, hence on its disk: what incremental backups are put together from


@dataclass(frozen=True, slots=True)
class Link:
    """One backup of a chain, and where it is extracted."""

    backup: Backup
    target: Path
    tablespaces: Mapping[int, Path]


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """A restore that can be carried out.

    Attributes:
        route: From which backup, along which WAL, to which moment.
        chain: A full backup and the incremental ones after it, up to the route's own; most often just that one.
        target: The new data directory.
        tablespaces: By oid, where each further tablespace goes.
        clear: Folders with what an earlier, interrupted restore left: emptied first.
        starts: Whether a server is to be started over it.
    """

    route: Route
    chain: tuple[Backup, ...]
    target: Path
    tablespaces: Mapping[int, Path]
    clear: tuple[Path, ...]
    starts: bool = True

    @property
    def backup(self) -> Backup:
        """What is restored."""
        return self.route.backup

    @property
    def folders(self) -> tuple[Path, ...]:
        """Every folder that is filled."""
        return (self.target, *self.tablespaces.values())

    @property
    def links(self) -> tuple[Link, ...]:
        """What is extracted where: a single backup into its target, a chain into folders beside one another."""
        if len(self.chain) == 1:
            return (Link(self.backup, self.target, self.tablespaces),)
        return tuple(self._link(number, backup) for number, backup in enumerate(self.chain))

    def _link(self, number: int, backup: Backup) -> Link:
        folder = self.target / LINKS
        spaces = {space.oid: folder / f"{number}.tablespaces" / str(space.oid) for space in backup.tablespaces}
        return Link(backup, folder / str(number), spaces)

    def describe(self) -> list[str]:
        """The plan, a line each, for a person."""
        backup = self.backup
        size, ended = backup.database_bytes / _GiB, f"{backup.finished_at:%Y-%m-%d %H:%M:%S}"
        lines = [f"restore backup {backup.id} of {ended} UTC ({size:.2f} GiB) into {self.target}"]
        lines.append(f"  to {self.route.moment}, replaying at most {self.route.wal_bytes / _MiB:,.0f} MiB of WAL")
        if len(self.chain) > 1:
            lines.append(f"  put together from {', '.join(backup.id for backup in self.chain)}")
        lines += [f"  tablespace {oid} into {folder}" for oid, folder in self.tablespaces.items()]
        lines += [f"  after clearing away the interrupted restore in {folder}" for folder in self.clear]
        return lines


def plan_restore(
    route: Route, chain: tuple[Backup, ...], target: Folder, tablespaces: Mapping[int, Folder]
) -> RestorePlan:
    """Decide how to restore.

    Args:
        route: What to restore.
        chain: The backups that together are the route's.
        target: The folder that shall become the data directory, as it is now.
        tablespaces: The folders for the backup's further tablespaces by oid, as they are now.

    Raises:
        RefusedError: A folder holds something, cannot be written, has too little room, or a path that a restore cannot
            work in.
    """
    backup = route.backup
    missing = [str(space.oid) for space in backup.tablespaces if space.oid not in tablespaces]
    if missing:
        raise RefusedError(
            f"Backup {backup.id} has tablespace {', '.join(missing)}: say where to, --tablespace OID=DIR."
        )
    if unknown := sorted(tablespaces.keys() - {space.oid for space in backup.tablespaces}):
        raise RefusedError(
            f"Backup {backup.id} has no tablespace {unknown[0]}: it has "
            f"{', '.join(str(space.oid) for space in backup.tablespaces) or 'none'}. Correct --tablespace."
        )
    folders = [target, *tablespaces.values()]
    _require_usable(folders)
    links = sum(link.archived_bytes for link in chain) if len(chain) > 1 else 0
    needed = int((backup.database_bytes + links) * _MARGIN) + min(route.wal_bytes, _MOST_WAL)
    free = min(folder.free_bytes for folder in folders)
    if needed > free:
        where = ", ".join(str(folder.path) for folder in folders)
        raise RefusedError(
            f"{where} has too little room: backup {backup.id} needs {needed / _GiB:.2f} GiB and "
            f"{free / _GiB:.2f} GiB are free. Choose a larger disk."
        )
    clear = tuple(folder.path for folder in folders if folder.interrupted)
    return RestorePlan(route, chain, target.path, {oid: folder.path for oid, folder in tablespaces.items()}, clear)


def _require_usable(folders: Sequence[Folder]) -> None:
    """See to it that a restore can work in these folders, of which the first is the target."""
    target = folders[0].path
    if spoiling := _SPOILING.search(str(target)):
        raise RefusedError(
            f"A restore cannot work in {str(target)!r}, for {spoiling[0]!r} means something to PostgreSQL's programs: "
            "choose a folder without it in its path (for drills and checks: OPS_SCRATCH_DIR)."
        )
    for one, other in permutations(folders, 2):
        if one.path.is_relative_to(other.path):
            raise RefusedError(f"{one.path} lies in {other.path}: give each tablespace and the target its own folder.")
    for folder in folders:
        if not folder.is_folder:
            raise RefusedError(f"{folder.path} is a file: name a folder, or one that does not exist yet.")
        if not folder.writable:
            raise RefusedError(f"{folder.path} cannot be written by us: choose another folder, or change its owner.")
        if not folder.empty and not folder.interrupted:
            raise RefusedError(
                f"{folder.path} is not empty: choose an empty or new folder; nothing is ever overwritten."
            )
