"""The folder that a restore fills: what it is like now, and the mark that says its filling has begun and not ended."""

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

MARK = ".ops_restore_in_progress"


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder as it is at one moment; it need not exist.

    Attributes:
        path: Absolute.
        is_folder: False when there is something else in its place.
        empty: Whether it holds nothing, or does not exist.
        interrupted: Whether all that it holds is what a restore of ours left when it was interrupted.
        writable: Whether we can create it, or files in it.
        free_bytes: On its disk.
    """

    path: Path
    is_folder: bool
    empty: bool
    interrupted: bool
    writable: bool
    free_bytes: int

    @classmethod
    def look(cls, path: Path) -> Self:
        """See what a folder is like."""
        path = path.absolute()
        nearest = next(folder for folder in (path, *path.parents) if folder.exists())
        is_folder = nearest.is_dir()
        names = {entry.name for entry in os.scandir(path)} if is_folder and nearest == path else set[str]()
        return cls(
            path,
            is_folder,
            empty=not names - {"lost+found"},
            interrupted=MARK in names,
            writable=is_folder and os.access(nearest, os.W_OK | os.X_OK),
            free_bytes=shutil.disk_usage(nearest if is_folder else nearest.parent).free,
        )


def clear(folder: Path) -> None:
    """Remove what an interrupted restore left in a folder, its mark last; the folder itself stays."""
    if not (folder / MARK).exists():
        return
    for entry in os.scandir(folder):
        if entry.name == MARK:
            continue
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            Path(entry.path).unlink()
    (folder / MARK).unlink()


def unmark(folders: Iterable[Path]) -> None:
    """Say that the filling of these folders has ended."""
    for folder in folders:
        (folder / MARK).unlink()
        sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
