"""Objects from one repository to another, each verified in its new place before anything is built on it.

A large object streams: its bytes have to have the SHA-256 of its record before it is completed, so a damaged one never
arrives. A bucket has checked the SHA-256 of every part that it took, and is asked for its checksum of the whole; what
lies in a folder, or in a bucket that tells no checksum, is read back.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from ops_workflows.errors import IntegrityError, RefusedError, StorageError
from ops_workflows.repository.backup import StoredArchive
from ops_workflows.repository.mirror import part_bytes
from ops_workflows.storage.checksums import sha256_base64
from ops_workflows.storage.fetch import fetch
from ops_workflows.storage.objects import StoredObject
from ops_workflows.storage.parts import SMALLEST_PART, cut, former_sizes, ways
from ops_workflows.storage.store import ObjectStore
from ops_workflows.storage.upload import Upload

_DIGEST = "sha256"  # metadata of a segment: of the log's bytes, whatever they were compressed and encrypted to


def _untold(_bytes: int) -> None:
    """Progress that is not told."""


@dataclass(slots=True)
class Verified:
    """How many objects were shown to be the same in their new place, and by what."""

    by_checksum: int = 0
    by_reading: int = 0


@dataclass(frozen=True, slots=True)
class Copier:
    """Copies between two places.

    Attributes:
        source: Where from.
        target: Where to.
        source_root: What the keys there begin with.
        target_root: Likewise.
        threads: Ranges and parts in flight at once.
        read_back: Whether the target's own checksums prove nothing, since it only keeps what it was told.
        verified: What was done so far.
    """

    source: ObjectStore
    target: ObjectStore
    source_root: str
    target_root: str
    threads: int
    read_back: bool
    verified: Verified = field(default_factory=Verified)

    def archive(self, name: str, stored: StoredArchive, progress: Callable[[int], None] = _untold) -> bool:
        """Copy one object of a backup or a dump, within flat memory; whether it had to be.

        Raises:
            IntegrityError: It is missing or damaged in the source, or did not arrive as it is.
            StorageError: One of the two places did not answer.
        """
        key = self.target_root + name
        if self._has(key, stored):
            return False
        _, in_parts, parts = stored.checksum.partition("-")
        if in_parts and parts.isdecimal():
            checksum = self._send_in_parts(name, stored, max(1, int(parts)), progress)
        else:
            with self._reading(name, stored, progress) as pieces:
                body = b"".join(pieces)
            checksum = sha256_base64(body)
            self.target.put(key, body, lock=True)
        self._verify(key, stored.size, stored.sha256, checksum)
        return True

    def small(self, name: str, *, once: bool = False, lock: bool = False) -> bool:
        """Copy a small object whole; whether it was there to be copied.

        Args:
            name: Of it.
            once: It never changes: one of the same name with other content is not replaced, unless that is damaged.
            lock: Protect it from deletion where the settings ask for that.

        Raises:
            IntegrityError: It is damaged in the source, another one is in the target, or it did not arrive as it is.
            StorageError: One of the two places did not answer.
        """
        found, body = self._read(name)
        if found is None:
            return False
        key = self.target_root + name
        if once and self._keeps(key, found, body):
            return True
        self.target.put(key, body, metadata=found.metadata, lock=lock)
        self._verify(key, len(body), hashlib.sha256(body).hexdigest(), sha256_base64(body))
        return True

    def record(self, name: str) -> None:
        """Copy a record, by which a backup or a dump comes to exist; it is never replaced.

        Raises:
            IntegrityError: The target has another one.
            StorageError: One of the two places did not answer, or it is gone from the source.
        """
        content = self.source.get(self.source_root + name)
        key = self.target_root + name
        try:
            self.target.put(key, content, if_absent=True, lock=True)
        except RefusedError:
            if self.target.get(key) != content:
                raise IntegrityError(
                    f"{key} is in {self.target} with other content than in {self.source}: nothing was replaced."
                ) from None

    def _send_in_parts(self, name: str, stored: StoredArchive, parts: int, progress: Callable[[int], None]) -> str:
        """Send an object in the parts of the original, so that it has the same checksum; the checksum it has.

        How many there were is known, and not always how large: then one way after the other is tried.
        """
        former = cut(stored.size, former_sizes(part_bytes(stored.size, parts, SMALLEST_PART)))
        possible = deque([*ways(stored.size, parts), former])
        while True:
            sizes = possible.popleft()
            with (
                Upload(self.target, self.target_root + name, threads=self.threads, sizes=sizes) as upload,
                self._reading(name, stored, progress) as pieces,
            ):
                for piece in pieces:
                    upload.write(piece)
                if upload.checksum() == stored.checksum or not possible:
                    return upload.finish().checksum
            progress = _untold

    @contextmanager
    def _reading(self, name: str, stored: StoredArchive, progress: Callable[[int], None]) -> Iterator[Iterator[bytes]]:
        pieces = fetch(
            self.source,
            self.source_root + name,
            size=stored.size,
            sha256=stored.sha256,
            threads=self.threads,
            progress=progress,
        )
        try:
            yield pieces
        finally:
            if isinstance(pieces, Generator):
                pieces.close()  # now, and not when it is collected: it has threads

    def _read(self, name: str) -> tuple[StoredObject | None, bytes]:
        """An object of the source and its bytes, checked against the source's own checksum; None when it is gone."""
        key = self.source_root + name
        found = self.source.head(key)
        if found is None:
            return None, b""
        try:
            body = self.source.get_range(key, 0, found.size, found.etag) if found.size else b""
        except IntegrityError:
            if self.source.head(key) is None:
                return None, b""
            raise
        if found.checksum is not None and "-" not in found.checksum and found.checksum != sha256_base64(body):
            raise IntegrityError(
                f"{key} in {self.source} is altered: its bytes no longer have the checksum it came with."
            )
        return found, body

    def _keeps(self, key: str, found: StoredObject, body: bytes) -> bool:
        """Whether the target has that object, so that it is left as it is."""
        there = self.target.head(key)
        if there is None:
            return False
        content = self.target.get(key)
        if content == body:
            return True
        if there.checksum != sha256_base64(content):
            return False  # it is damaged: what comes is not
        if _DIGEST in there.metadata and there.metadata.get(_DIGEST) == found.metadata.get(_DIGEST):
            return True  # the same log, encrypted at another time
        raise IntegrityError(
            f"{key} is in {self.target} with other content than in {self.source}: nothing was replaced."
        )

    def _has(self, key: str, stored: StoredArchive) -> bool:
        found = self.target.head(key)
        if found is None or found.size != stored.size:
            return False
        if not self.read_back and found.checksum == stored.checksum:
            self.verified.by_checksum += 1
            return True
        with suppress(IntegrityError):
            self._read_back(key, stored.size, stored.sha256)
            return True
        return False

    def _verify(self, key: str, size: int, sha256: str, checksum: str) -> None:
        found = self.target.head(key)
        if found is None or found.size != size:
            raise StorageError(f"{key} was stored in {self.target} and is not there as it was sent: run it again.")
        if self.read_back or found.checksum is None:
            self._read_back(key, size, sha256)
        elif found.checksum != checksum:
            raise IntegrityError(f"{key} in {self.target} has another checksum than what was sent: run it again.")
        else:
            self.verified.by_checksum += 1

    def _read_back(self, key: str, size: int, sha256: str) -> None:
        while True:
            before = self.target.head(key)
            try:
                for _ in fetch(self.target, key, size=size, sha256=sha256, threads=self.threads):
                    pass
            except IntegrityError:
                if self.target.head(key) == before:
                    raise
                continue  # another mirroring has put its own copy of it there meanwhile: that is as good
            self.verified.by_reading += 1
            return
