"""The folder that a restore fills: what it is like now, and the mark that says its filling has begun and not ended."""

import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ops_workflows.errors import RefusedError
from ops_workflows.postgres.file_lock import HeldError, file_lock
from ops_workflows.postgres.server import DataDirectory

MARK = ".ops_restore_in_progress"
_LOST_AND_FOUND = "lost+found"  # of a file system's root, which a folder may be
_UNTOUCHED = {MARK, _LOST_AND_FOUND}


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
        """See what a folder is like.

        Raises:
            RefusedError: We are not let see it, its path is none that there can be, or a server runs over it that no
                interrupted restore of ours has left.
        """
        path = path.absolute()
        try:
            seen = cls._seen(path)
        except OSError as error:
            raise _unusable(path, error) from error
        if not (seen.empty or seen.interrupted) and (running := DataDirectory(path).running_processes()):
            pid = (DataDirectory(path).postmaster() or running[0]).pid
            raise RefusedError(
                f"{path} is not empty, and a PostgreSQL server runs over it: choose an empty or new folder, or stop "
                f"the server (kill -INT {pid}) and remove this one, if nobody needs it."
            )
        return seen

    @classmethod
    def _seen(cls, path: Path) -> Self:
        nearest = next(folder for folder in (path, *path.parents) if folder.exists() or folder.is_symlink())
        if not nearest.exists():
            raise RefusedError(
                f"{nearest} is a symbolic link that leads nowhere: make the folder that it names, or choose another."
            )
        is_folder = nearest.is_dir()
        names = _names(path) if is_folder and nearest == path else set[str]()
        return cls(
            path,
            is_folder,
            empty=not names - {_LOST_AND_FOUND},
            interrupted=MARK in names,
            writable=is_folder and os.access(nearest, os.W_OK | os.X_OK),
            free_bytes=shutil.disk_usage(nearest if is_folder else nearest.parent).free,
        )


@contextmanager
def filling(folders: Iterable[Path], leftovers: Collection[Path]) -> Iterator[None]:
    """Have these folders to ourselves for the length of a `with`, marked until it ends well.

    Args:
        folders: Empty or missing ones, which are made, and those of `leftovers`.
        leftovers: Folders with what an interrupted restore left, which is removed.

    Raises:
        RefusedError: Another restore is at work in one of them, it cannot be made or written, or it is no longer as it
            was when it was looked at.
    """
    with ExitStack() as held:
        marks = []
        for folder in folders:
            mark = folder / MARK
            try:
                folder.mkdir(parents=True, exist_ok=True)
                held.enter_context(file_lock(mark, new=folder not in leftovers))
            except HeldError:
                raise RefusedError(
                    f"Another restore is at work in {folder}, or has just ended: choose another folder, or try again."
                ) from None
            except OSError as error:
                raise _unusable(folder, error) from error
            if folder in leftovers:
                DataDirectory(folder).stop("immediate")  # the server of a restore that was killed while it recovered
                _clear(folder)
            elif _names(folder) - _UNTOUCHED:
                mark.unlink()
                raise RefusedError(f"{folder} is not empty any more: choose an empty or new folder.")
            marks.append(mark)
        yield
        for mark in marks:
            mark.unlink()
            sync_folder(mark.parent)


def _unusable(folder: Path, error: OSError) -> RefusedError:
    return RefusedError(
        f"{folder} cannot be used ({error.strerror}): choose another folder, or let us enter and write this one."
    )


def _clear(folder: Path) -> None:
    for entry in os.scandir(folder):
        if entry.name in _UNTOUCHED:
            continue
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            Path(entry.path).unlink()


def _names(folder: Path) -> set[str]:
    return {entry.name for entry in os.scandir(folder)}


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
