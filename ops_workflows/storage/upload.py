"""A stream of unknown length into one object: multipart, in parallel, within bounded memory.

The writer fills a part while threads send those before it. All of them together may hold so many bytes and no more:
when the bucket is slow there is no room for another part and the writer waits. That is all the back-pressure there is,
and the memory. Where one part is larger than that, it is alone.
"""

import hashlib
import threading
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from ops_workflows.errors import StorageError
from ops_workflows.storage.checksums import composite
from ops_workflows.storage.objects import StoredPart
from ops_workflows.storage.parts import SMALLEST_PART, MiB, part_sizes
from ops_workflows.storage.store import ObjectStore

_HELD = 48 * MiB  # beside the 90 MB that a process needs for Python, the SDK and libpq


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

    Args:
        store: Where to.
        key: Full key of the object.
        threads: Parts to send at once, if they are small enough.
        expected_bytes: How large the object may become; 0 if unknown.
        sizes: Of its parts, where that is not left to us.
    """

    def __init__(
        self, store: ObjectStore, key: str, *, threads: int, expected_bytes: int = 0, sizes: Iterable[int] | None = None
    ) -> None:
        self._store = store
        self._key = key
        self._sizes = iter(part_sizes(expected_bytes) if sizes is None else sizes)
        self._parts_at_once = threads + 1  # those that are sent, and the one that is filled
        self._buffers = _Buffers()
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="upload")
        self._sent: list[Future[StoredPart]] = []
        self._sha256 = hashlib.sha256()
        self._size = 0
        self._sent_bytes = 0
        self._buffer = bytearray()
        self._filled = 0
        self._upload_id: str | None = None

    def __enter__(self) -> Self:
        self._upload_id = self._store.begin_upload(self._key)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Threads first: a part that arrives after the abort would stay in the bucket unseen, and be paid for.
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._buffers.drop()
        if self._upload_id is not None:
            try:
                self._store.abort_upload(self._key, self._upload_id)
            except StorageError:
                if error is None:
                    raise  # otherwise the error that brought us here says more; the next run's sweep will abort it

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes; waits while the bucket is behind.

        Raises:
            StorageError: An earlier part could not be stored, or there is more than an object can hold.
        """
        self._sha256.update(data)
        self._size += len(data)
        view = memoryview(data)
        while view:
            if not self._filled:
                self._buffer = self._next_buffer()
            piece = view[: len(self._buffer) - self._filled]
            self._buffer[self._filled : self._filled + len(piece)] = piece
            self._filled += len(piece)
            view = view[len(piece) :]
            if self._filled == len(self._buffer):
                self._send()

    def checksum(self) -> str:
        """Send what is left and wait for every part: the checksum that the object is going to have.

        Raises:
            StorageError: A part could not be stored.
        """
        return composite([part.checksum for part in self._all_parts()])

    def finish(self) -> UploadedObject:
        """Send what is left, wait for every part, and make the object.

        Raises:
            StorageError: A part could not be stored, or the bucket did not complete it.
        """
        if self._upload_id is None:
            raise StorageError(f"The upload of {self._key} was finished before.")
        parts = self._all_parts()
        etag = self._store.complete_upload(self._key, self._upload_id, parts)
        self._upload_id = None
        self._threads.shutdown()
        self._buffers.drop()
        checksum = composite([part.checksum for part in parts])
        return UploadedObject(self._key, self._size, self._sha256.hexdigest(), etag, checksum)

    def _next_buffer(self) -> bytearray:
        size = next(self._sizes, None)
        if size is None:
            raise StorageError(
                f"{self._key} is larger than the 10,000 parts that an object may have: spread the database over "
                "tablespaces, each of which becomes an object of its own."
            )
        # Whoever asks for more threads than usual has memory for them.
        most = min(max(_HELD, self._parts_at_once * SMALLEST_PART), self._parts_at_once * size)
        buffer = self._buffers.take(size, most)
        self._raise_what_failed()
        return buffer

    def _all_parts(self) -> list[StoredPart]:
        if self._filled or not self._sent:
            self._send()
        return [sent.result() for sent in self._sent]

    def _send(self) -> None:
        body, self._buffer = self._buffer, bytearray()
        if self._filled < len(body):
            del body[self._filled :]
        self._filled = 0
        self._sent.append(self._threads.submit(self._put, len(self._sent) + 1, body, self._sent_bytes))
        self._sent_bytes += len(body)

    def _raise_what_failed(self) -> None:
        for sent in self._sent[-64:]:
            if sent.done():
                sent.result()  # raises what that part's thread met

    def _put(self, number: int, body: bytearray, offset: int) -> StoredPart:
        if self._upload_id is None:
            raise StorageError(f"The upload of {self._key} has not begun.")
        try:
            return self._store.put_part(self._key, self._upload_id, number, body, offset=offset)
        finally:
            self._buffers.give(body)


class _Buffers:
    """The memory of an upload. Buffers go round: one that is made anew for each part leaves holes between them."""

    def __init__(self) -> None:
        self._held = 0
        self._free = deque[bytearray]()
        self._changed = threading.Condition()

    def take(self, size: int, most: int) -> bytearray:
        """A buffer of so many bytes. Waits until it and those in use hold no more than `most`, or none is in use."""
        with self._changed:
            self._changed.wait_for(lambda: not self._held or self._held + size <= most)
            self._held += size
            while self._free:
                buffer = self._free.popleft()
                if len(buffer) == size:
                    return buffer
            return bytearray(size)

    def give(self, buffer: bytearray) -> None:
        """It is no longer in use."""
        with self._changed:
            self._held -= len(buffer)
            self._free.append(buffer)
            self._changed.notify()

    def drop(self) -> None:
        """No more are needed."""
        self._free.clear()
