"""Where a benchmark works: one folder that the servers' account can enter, with room enough, gone afterwards."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import BenchmarkError
from ops_workflows.postgres.account import Account, server_account
from ops_workflows.settings import Settings

GB = 1_000_000_000
# At most at one time: the data with its WAL, one backup in the bucket, one restore of it, and what is being deleted.
_ROOM_PER_BYTE = 4
_ROOM_ANYWAY = 2 * GB


@dataclass(frozen=True)
class Workplace:
    """The folder, and the account that every server and every peer runs as: ours, or an unprivileged one for root."""

    folder: Path
    account: Account | None

    def make(self, name: str) -> Path:
        """A new, empty folder that belongs to the account; what had that name before is removed."""
        folder = self.folder / name
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(mode=0o700)
        return self.give(folder)

    def give(self, path: Path) -> Path:
        """Make the account the owner of a file or folder."""
        if self.account is not None:
            os.chown(path, self.account.uid, self.account.gid)
        return path

    def remove(self, folder: Path) -> None:
        """Remove a folder of it, if it is there."""
        if folder.exists():
            shutil.rmtree(folder)

    def write_private(self, path: Path, text: str) -> Path:
        """Write a file that only the account (and root) can read."""
        path.touch(mode=0o600)
        path.write_text(text)
        return self.give(path)


@contextmanager
def workplace(folder: Path | None, database_bytes: int) -> Iterator[Workplace]:
    """A new folder below `folder` (default: the system's for temporary files) for the length of a `with`.

    Raises:
        BenchmarkError: There is too little room for databases of that size.
    """
    parent = (folder or Path(tempfile.gettempdir())).absolute()
    parent.mkdir(parents=True, exist_ok=True)
    needed = _ROOM_ANYWAY + _ROOM_PER_BYTE * database_bytes
    free = shutil.disk_usage(parent).free
    if free < needed:
        raise BenchmarkError(
            f"{parent} has {free / GB:.1f} GB free and the benchmark needs {needed / GB:.1f}: "
            "name a folder on a larger disk with --dir, or less data with --gb."
        )
    # Short, because the paths of the sockets in it must fit into 107 bytes.
    made = Path(tempfile.mkdtemp(prefix="bench-", dir=parent))
    try:
        made.chmod(0o711)  # the account passes through; nobody can list it
        yield Workplace(made, server_account(Settings.read().server_user))
    finally:
        shutil.rmtree(made)
