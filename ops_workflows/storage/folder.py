"""A folder as a place for objects: a disk, or a share of one. What is stored is durable, and there whole or not at all.

Each object is a file under its key. It is written beside its place, under a hidden name, synced, and then renamed or
linked there; what a killed writer leaves is such a hidden file, a pending upload. What S3 keeps beside an object's
bytes, its checksum and our metadata, are extended attributes of the file.
"""

import errno
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from ops_workflows.errors import IntegrityError, RefusedError, StorageError
from ops_workflows.storage import tree
from ops_workflows.storage.checksums import composite, sha256_base64
from ops_workflows.storage.objects import PendingUpload, StoredObject, StoredPart
from ops_workflows.storage.versions import StoredVersion

_CHECKSUM = "user.ops.checksum"
_METADATA = "user.ops.meta."
_NO_ATTRIBUTES = frozenset({errno.ENOTSUP, errno.ENOSYS})
_ADVICE = {
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "raise this account's quota there",
    errno.EACCES: "let this account read and write there",
    errno.EPERM: "let this account write there, on a file system with hard links",
    errno.EROFS: "mount it for writing",
    errno.ENOTSUP: "choose a file system with extended attributes, such as ext4, XFS, ZFS, or NFS from 4.2 on",
}


class FolderStore:
    """One folder, which has to be there: it may be the place where a disk is mounted, and is not when that is missing.

    Args:
        root: Absolute.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def __str__(self) -> str:
        return self.root.as_uri()

    def check(self) -> None:
        """Raise StorageError, saying what to do, unless the folder is there and ours to write."""
        self._require_root()
        if not os.access(self.root, os.R_OK | os.W_OK | os.X_OK):
            raise StorageError(f"{self} cannot be written: {_ADVICE[errno.EACCES]}.")

    def is_versioned(self) -> bool:
        """No folder keeps what is overwritten or deleted."""
        return False

    def put(
        self,
        key: str,
        body: bytes,
        *,
        if_absent: bool = False,
        metadata: Mapping[str, str] | None = None,
        lock: bool = False,  # noqa: ARG002 - nothing in a folder can be locked against its owner
    ) -> StoredObject:
        """Store a small object whole; see `ObjectStore.put`."""
        checksum = sha256_base64(body)
        upload_id = self.begin_upload(key)
        try:
            self._write(key, upload_id, body, 0)
            etag = self._publish(key, upload_id, checksum, metadata or {}, if_absent=if_absent)
        finally:
            self.abort_upload(key, upload_id)
        return StoredObject(key, len(body), etag, checksum=checksum, metadata=dict(metadata or {}))

    def get(self, key: str) -> bytes:
        """A small object's bytes, whole."""
        with self._explained("read", key):
            return self._path(key).read_bytes()

    def get_range(self, key: str, start: int, length: int, etag: str) -> bytes:
        """`length` bytes of an object from `start`; see `ObjectStore.get_range`."""
        body = bytearray()
        with self._explained("read", key), suppress(FileNotFoundError), self._path(key).open("rb") as file:
            if _etag(os.fstat(file.fileno())) == etag:
                while piece := os.pread(file.fileno(), length - len(body), start + len(body)):
                    body += piece
                if len(body) == length:
                    return bytes(body)
                last = start + length - 1
                raise IntegrityError(f"{key} in {self} is truncated: bytes {start} to {last} gave only {len(body)}.")
        raise IntegrityError(
            f"{key} in {self} is not the object that was stored: it is gone, or its version tag differs."
        )

    def head(self, key: str) -> StoredObject | None:
        """What is known of an object; None when it is not there."""
        with self._explained("look at", key):
            try:
                with self._path(key).open("rb") as file:
                    status = os.fstat(file.fileno())
                    kept = _attributes(file.fileno())
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return None
        metadata = {name.removeprefix(_METADATA): kept[name] for name in kept if name.startswith(_METADATA)}
        return StoredObject(key, status.st_size, _etag(status), _modified(status), kept.get(_CHECKSUM), metadata)

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        """Every object whose key begins so, in order of key."""
        with self._explained("list", prefix):
            for key, status in tree.walk(self.root, prefix):
                yield StoredObject(key, status.st_size, _etag(status), _modified(status))

    def folders(self, prefix: str) -> Iterator[str]:
        """The names directly below a prefix (which ends in a slash) that have something below them."""
        last = None
        for found in self.objects(prefix):
            name, slash, _ = found.key[len(prefix) :].partition("/")
            if slash and name != last:
                yield name
                last = name

    def delete(self, keys: Iterable[str]) -> int:
        """Delete objects, also such that are not there; the number of keys."""
        wanted = list(keys)
        touched: dict[Path, None] = {}
        for key in wanted:
            with self._explained("delete", key), suppress(FileNotFoundError):
                path = self._path(key)
                path.unlink()
                touched[path.parent] = None
        for folder in touched:
            with self._explained("delete", str(folder)), suppress(FileNotFoundError):
                tree.sync_folder(folder)
                tree.remove_empty(folder, self.root)
        return len(wanted)

    def versions(self, prefix: str) -> Iterator[StoredVersion]:  # noqa: ARG002
        """None: a folder has no old versions."""
        return iter(())

    def delete_versions(self, versions: Sequence[StoredVersion]) -> list[tuple[str, str]]:  # noqa: ARG002
        """Nothing: a folder has no old versions."""
        return []

    def begin_upload(self, key: str) -> str:
        """Begin an upload; its id."""
        upload_id = tree.new_upload_id()
        with self._explained("store", key):
            os.close(tree.create(tree.upload_path(self._path(key), upload_id), self.root))
        return upload_id

    def put_part(self, key: str, upload_id: str, number: int, body: bytes | bytearray, *, offset: int) -> StoredPart:
        """Store one part, numbered from 1, that begins `offset` bytes into the object."""
        self._write(key, upload_id, body, offset)
        return StoredPart(number, len(body), f'"{number}"', sha256_base64(body))

    def complete_upload(self, key: str, upload_id: str, parts: Sequence[StoredPart]) -> str:
        """Make the object out of its parts, in one step; its version tag."""
        with self._explained("complete", key):
            size = tree.upload_path(self._path(key), upload_id).stat().st_size
        if size != sum(part.size for part in parts) or [part.number for part in parts] != list(
            range(1, len(parts) + 1)
        ):
            raise StorageError(f"Cannot complete {key} in {self}: its parts are not all there.")
        return self._publish(key, upload_id, composite([part.checksum for part in parts]), {}, if_absent=False)

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Let go of an upload and of what it has; no error when it is gone already."""
        path = self._path(key)
        with self._explained("abort the upload of", key):
            tree.upload_path(path, upload_id).unlink(missing_ok=True)
        tree.remove_empty(path.parent, self.root)

    def pending_uploads(self, prefix: str) -> Iterator[PendingUpload]:
        """Uploads below a prefix that were begun and never ended, each with the time when it was last written to."""
        with self._explained("list", prefix):
            for hidden, status in tree.walk(self.root, prefix, uploads=True):
                if named := tree.upload_of(hidden):
                    yield PendingUpload(*named, _modified(status))

    def _path(self, key: str) -> Path:
        self._require_root()
        return tree.path_of(self.root, key)

    def _require_root(self) -> None:
        if not self.root.is_dir():
            raise StorageError(f"{self} is not there: make the folder, or mount what it lies on.")

    def _write(self, key: str, upload_id: str, body: bytes | bytearray, offset: int) -> None:
        view = memoryview(body)
        with self._explained("store", key), tree.upload_path(self._path(key), upload_id).open("r+b") as file:
            while view:
                written = os.pwrite(file.fileno(), view, offset)
                view, offset = view[written:], offset + written

    def _publish(self, key: str, upload_id: str, checksum: str, metadata: Mapping[str, str], *, if_absent: bool) -> str:
        path = self._path(key)
        hidden = tree.upload_path(path, upload_id)
        with self._explained("store", key), hidden.open("r+b") as file:
            _keep(file.fileno(), checksum, metadata)
            os.fsync(file.fileno())
            etag = _etag(os.fstat(file.fileno()))
            if not if_absent:
                hidden.replace(path)
            else:
                try:
                    path.hardlink_to(hidden)
                except FileExistsError:
                    raise RefusedError(f"{key} is in {self} already and is never replaced.") from None
                hidden.unlink()
            tree.sync_folder(path.parent)
        return etag

    @contextmanager
    def _explained(self, verb: str, key: str) -> Iterator[None]:
        self._require_root()
        try:
            yield
        except OSError as error:
            advice = _ADVICE.get(error.errno or 0, "see the system's log")
            raise StorageError(f"Cannot {verb} {key} in {self}: {error.strerror}. To do: {advice}.") from error


def _etag(status: os.stat_result) -> str:
    return f'"{status.st_size}-{status.st_mtime_ns}-{status.st_ino}"'


def _modified(status: os.stat_result) -> datetime:
    return datetime.fromtimestamp(status.st_mtime, UTC)


def _keep(handle: int, checksum: str, metadata: Mapping[str, str]) -> None:
    try:
        os.setxattr(handle, _CHECKSUM, checksum.encode())
    except OSError as error:
        if metadata or error.errno not in _NO_ATTRIBUTES:
            raise
    for name, value in metadata.items():
        os.setxattr(handle, _METADATA + name, value.encode())


def _attributes(handle: int) -> dict[str, str]:
    try:
        names = [name for name in os.listxattr(handle) if name.startswith("user.ops.")]
        return {name: os.getxattr(handle, name).decode() for name in names}
    except OSError as error:
        if error.errno not in _NO_ATTRIBUTES:
            raise
        return {}
