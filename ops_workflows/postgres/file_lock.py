"""Locks on files and folders that end with whoever holds them, so that nothing that is killed leaves one behind.

They are the kernel's, flock(2): there is no pid to be recycled and no age to be guessed at, and another container that
shares the disk sees them too.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ops_workflows.postgres.processes import wait_until


class HeldError(Exception):
    """Somebody else holds the lock, or has just ended and removed what it was for."""


@contextmanager
def file_lock(path: Path, *, new: bool | None = None, patience: float = 0) -> Iterator[None]:
    """Hold a file's lock for the length of a `with`; the file stays.

    Args:
        path: The file; made, open to us alone, unless it is there.
        new: True when it must not be there yet, False when it must.
        patience: Seconds to wait for whoever holds it.

    Raises:
        HeldError: It is held; or it is there and should not be, or is gone and should be there.
        OSError: It cannot be opened.
    """
    made = {None: os.O_CREAT, True: os.O_CREAT | os.O_EXCL, False: 0}[new]
    try:
        handle = os.open(path, os.O_RDWR | made, 0o600)
    except (FileExistsError, FileNotFoundError) as error:
        if new is None:
            raise
        raise HeldError from error
    with _locked(handle, patience):
        yield


@contextmanager
def folder_lock(folder: Path, *, patience: float = 0) -> Iterator[None]:
    """Hold a folder's own lock for the length of a `with`: nothing has to be written for it.

    Raises:
        HeldError: It is held, or the folder is gone.
        OSError: It cannot be opened, or its file system has no such locks, as NFS has none for folders.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError as error:
        raise HeldError from error
    with _locked(handle, patience):
        yield


@contextmanager
def _locked(handle: int, patience: float) -> Iterator[None]:
    try:
        if not wait_until(lambda: _try(handle), patience) or os.fstat(handle).st_nlink == 0:
            raise HeldError
        yield
    finally:
        os.close(handle)


def _try(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
