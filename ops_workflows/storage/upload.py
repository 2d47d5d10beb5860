"""A stream of unknown length into one object: multipart, in parallel, with flat memory.

A fixed number of part-sized buffers goes round between the writer, which fills them, and the threads, which send them.
When the bucket is slow no buffer is free and the writer waits: that is all the back-pressure there is, and the memory.
"""

import hashlib
import queue
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from ops_workflows.errors import StorageError
from ops_workflows.storage.checksums import composite
from ops_workflows.storage.objects import StoredPart
from ops_workflows.storage.store import ObjectStore

MiB = 1024 * 1024
SMALLEST_PART = 8 * MiB  # S3 demands 5 MiB; below 8 the calls cost more than the bytes
LARGEST_PART = 5 * 1024 * MiB  # S3 takes no more
MOST_PARTS = 10_000
_UNIFORM_PARTS = 8_000  # up to here all parts are equal; beyond, they double, so that a bad estimate still ends well
_PARTS_PER_DOUBLING = 400  # five doublings: four times the estimate still fits


def part_size(expected_bytes: int) -> int:
    """Size of the equal parts of an object that is expected to have so many bytes, in whole MiB.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html: at most 10,000 parts, none above 5 GiB.
    """
    needed = -(-expected_bytes // _UNIFORM_PARTS)
    return max(SMALLEST_PART, -(-needed // MiB) * MiB)


def expected_for(part: int) -> int:
    """How many bytes to expect for an object to be sent in parts of this size, whole MiB and at least the smallest."""
    return part * _UNIFORM_PARTS


def size_of_part(number: int, base: int) -> int:
    """Size of part `number` (from 1): `base`, past the 8,000th doubled with every 400, and never more than S3 takes."""
    beyond = max(0, number - _UNIFORM_PARTS)
    doubled: int = base << (-(-beyond // _PARTS_PER_DOUBLING))
    return min(doubled, LARGEST_PART)


@dataclass(frozen=True, slots=True)
class UploadedObject:
    """What is known of an object once the bucket has acknowledged it whole.

    Attributes:
        key: Full key.
        size: Bytes.
        sha256: Of all its bytes, hex.
        etag: The bucket's version tag.
        checksum: The bucket's own composite SHA-256 (base64, `-N` for N parts) that it must report from now on.
    """

    key: str
    size: int
    sha256: str
    etag: str
    checksum: str


class Upload:
    """A writer whose bytes become one object when it is finished, and nothing when it is not.

    Use as a context manager: leaving it without `finish()` aborts the upload and frees its parts. A process killed
    midway leaves a pending upload, which `ObjectStore.pending_uploads` finds.
    """

    def __init__(self, store: ObjectStore, key: str, *, threads: int, expected_bytes: int = 0) -> None:
        self._store = store
        self._key = key
        self._base = part_size(expected_bytes)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="upload")
        self._free: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(threads + 1):
            self._free.put(None)
        self._sent: list[Future[StoredPart]] = []
        self._sha256 = hashlib.sha256()
        self._size = 0
        self._sent_bytes = 0
        self._buffer = bytearray()
        self._upload_id: str | None = None

    def __enter__(self) -> Self:
        self._free.get()
        self._upload_id = self._store.begin_upload(self._key)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Threads first: a part that arrives after the abort would stay in the bucket unseen, and be paid for.
        self._threads.shutdown(wait=True, cancel_futures=True)
        if self._upload_id is not None:
            try:
                self._store.abort_upload(self._key, self._upload_id)
            except StorageError:
                if error is None:
                    raise  # otherwise the error that brought us here says more; the next run's sweep will abort it

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes; waits while the bucket is behind.

        Raises:
            StorageError: An earlier part could not be stored.
        """
        self._sha256.update(data)
        self._size += len(data)
        view = memoryview(data)
        while view:
            full = size_of_part(len(self._sent) + 1, self._base)
            room = full - len(self._buffer)
            self._buffer += view[:room]
            view = view[room:]
            if len(self._buffer) == full:
                self._send()

    def finish(self) -> UploadedObject:
        """Send what is left, wait for every part, and make the object.

        Raises:
            StorageError: A part could not be stored, or the bucket did not complete it.
        """
        if self._upload_id is None:
            raise StorageError(f"The upload of {self._key} was finished before.")
        if self._buffer or not self._sent:
            self._send()
        parts = [sent.result() for sent in self._sent]
        etag = self._store.complete_upload(self._key, self._upload_id, parts)
        self._upload_id = None
        self._threads.shutdown()
        checksum = composite([part.checksum for part in parts])
        return UploadedObject(self._key, self._size, self._sha256.hexdigest(), etag, checksum)

    def _send(self) -> None:
        body, self._buffer = self._buffer, bytearray()
        self._sent.append(self._threads.submit(self._put, len(self._sent) + 1, body, self._sent_bytes))
        self._sent_bytes += len(body)
        self._free.get()
        for sent in self._sent[-64:]:
            if sent.done():
                sent.result()  # raises what that part's thread met

    def _put(self, number: int, body: bytearray, offset: int) -> StoredPart:
        if self._upload_id is None:
            raise StorageError(f"The upload of {self._key} has not begun.")
        try:
            return self._store.put_part(self._key, self._upload_id, number, body, offset=offset)
        finally:
            self._free.put(None)
