"""A place for objects: a bucket or a folder, of which the rest of the project sees the same face."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from ops_workflows.settings import Settings
from ops_workflows.storage.objects import PendingUpload, StoredObject, StoredPart
from ops_workflows.storage.versions import StoredVersion


class ObjectStore(Protocol):
    """Objects under keys. Keys are full keys; nothing here gives them a meaning. Safe to use from several threads.

    As a string it says where it is. All methods raise StorageError when the place does not answer or refuses.
    """

    def check(self) -> None:
        """Raise StorageError, saying what to do, unless the place is there and open to us."""

    def is_versioned(self) -> bool:
        """Whether it keeps what is overwritten or deleted."""

    def put(
        self,
        key: str,
        body: bytes,
        *,
        if_absent: bool = False,
        metadata: Mapping[str, str] | None = None,
        lock: bool = False,
    ) -> StoredObject:
        """Store a small object whole.

        Args:
            key: Where to.
            body: Its bytes.
            if_absent: Refuse, in one atomic step, to replace an object that is there.
            metadata: Names and values to keep beside the bytes, which `head` tells; lower-case ASCII names.
            lock: It is never replaced: protect it from deletion where the settings ask for that.

        Raises:
            RefusedError: `if_absent` and there is one.
        """

    def get(self, key: str) -> bytes:
        """A small object's bytes, whole."""

    def get_range(self, key: str, start: int, length: int, etag: str) -> bytes:
        """`length` bytes of an object from `start`.

        Raises:
            IntegrityError: The object is gone, or no longer the one that `etag` names, or ended too soon.
        """

    def head(self, key: str) -> StoredObject | None:
        """What is known of an object; None when it is not there."""

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        """Every object whose key begins so, in order of key."""

    def folders(self, prefix: str) -> Iterator[str]:
        """The names directly below a prefix (which ends in a slash) that have something below them."""

    def delete(self, keys: Iterable[str]) -> int:
        """Delete objects, also such that are not there; the number of keys."""

    def versions(self, prefix: str) -> Iterator[StoredVersion]:
        """Every version and delete marker below a prefix, key by key, the newest of each key first."""

    def delete_versions(self, versions: Sequence[StoredVersion]) -> list[tuple[str, str]]:
        """Delete exactly these versions and markers, for good; key and reason of each that is kept nevertheless."""

    def begin_upload(self, key: str) -> str:
        """Begin a multipart upload; its id."""

    def put_part(self, key: str, upload_id: str, number: int, body: bytes | bytearray, *, offset: int) -> StoredPart:
        """Store one part, numbered from 1, that begins `offset` bytes into the object."""

    def complete_upload(self, key: str, upload_id: str, parts: Sequence[StoredPart]) -> str:
        """Make the object out of its parts, in one step; its version tag."""

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Let go of a multipart upload and of the parts it has; no error when it is gone already."""

    def pending_uploads(self, prefix: str) -> Iterator[PendingUpload]:
        """Uploads below a prefix that were begun and never ended."""


def open_store(settings: Settings) -> ObjectStore:
    """The place that the settings name: the folder of OPS_REPOSITORY_URL, else the bucket. Nothing is asked of it yet.

    Raises:
        ConfigurationError: They name none.
    """
    if settings.repository_folder is not None:
        from ops_workflows.storage.folder import FolderStore  # noqa: PLC0415

        return FolderStore(settings.repository_folder)
    # Not at module level: the SDK behind it is slow to import, and a folder needs none.
    from ops_workflows.storage import s3  # noqa: PLC0415

    return s3.open_store(settings)
