"""The file system under a folder of objects: keys as paths, in S3's order, and uploads as hidden files beside them."""

import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ops_workflows.errors import StorageError

_HIDDEN = "."  # what begins so is no object: uploads under way, a file system's own snapshots
_PART = ".part"
_ATTEMPTS = 20  # to make a file in a folder that somebody else removes whenever it is empty


class Found(NamedTuple):
    """A file below a folder, by the key that its path stands for."""

    key: str
    status: os.stat_result


def path_of(root: Path, key: str) -> Path:
    """Where a key lies.

    Raises:
        StorageError: It cannot be a path below the root.
    """
    if not _is_below(key):
        raise StorageError(f"{key!r} cannot be stored in a folder: no part of a key may be empty or begin with a dot.")
    return root / key


def _is_below(key: str) -> bool:
    return "\0" not in key and all(part and not part.startswith(_HIDDEN) for part in key.split("/"))


def new_upload_id() -> str:
    """A name for an upload that no other has."""
    return secrets.token_hex(8)


def upload_path(path: Path, upload_id: str) -> Path:
    """The hidden file in which an object is made: beside its place, so that it can be renamed there in one step."""
    return path.with_name(f"{_HIDDEN}{path.name}.{upload_id}{_PART}")


def upload_of(key: str) -> tuple[str, str] | None:
    """The key and the id of the upload whose hidden file has this key; None if it is none."""
    folder, slash, name = key.rpartition("/")
    of, _, upload_id = name.removeprefix(_HIDDEN).removesuffix(_PART).rpartition(".")
    if not name.startswith(_HIDDEN) or not name.endswith(_PART) or not of:
        return None
    return f"{folder}{slash}{of}", upload_id


def create(path: Path, root: Path) -> int:
    """Make a new file that its owner alone can read, and the folders on the way to it; its descriptor."""
    for _ in range(_ATTEMPTS):
        _make_folders(path.parent, root)
        with suppress(FileNotFoundError):  # the folder was empty for a moment, and somebody removed it
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    raise StorageError(f"{path.parent} disappears as soon as it is made: see what else is at work there.")


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_empty(folder: Path, root: Path) -> None:
    """Remove a folder and those above it as far as nothing lies in them; the root stays."""
    while folder != root:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent


def walk(root: Path, prefix: str, *, uploads: bool = False) -> Iterator[Found]:
    """Every file whose key begins with a prefix, in order of key.

    Args:
        root: The folder.
        prefix: May end in the middle of a name.
        uploads: The hidden files of uploads, and not the objects.
    """
    above, slash, begin = prefix.rpartition("/")
    if slash and not _is_below(above):
        return
    yield from _below(root / above, above + slash, begin, uploads)


def _below(folder: Path, above: str, begin: str, uploads: bool) -> Iterator[Found]:
    try:
        with os.scandir(folder) as entries:
            # S3's order is that of whole keys, in which a folder's name is followed by a slash.
            named = sorted((entry.name + "/" * entry.is_dir(follow_symlinks=False), entry) for entry in entries)
    except (FileNotFoundError, NotADirectoryError):
        return
    for name, entry in named:
        hidden = name.startswith(_HIDDEN)
        if name.endswith("/"):
            if name.startswith(begin) and not hidden:
                yield from _below(Path(entry.path), above + name, "", uploads)
        elif hidden == uploads and name.removeprefix(_HIDDEN if uploads else "").startswith(begin):
            with suppress(FileNotFoundError):
                yield Found(above + name, entry.stat(follow_symlinks=False))


def _make_folders(folder: Path, root: Path) -> None:
    missing = []
    while folder != root and not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        with suppress(FileExistsError, FileNotFoundError):
            each.mkdir(mode=0o700)
            sync_folder(each.parent)
