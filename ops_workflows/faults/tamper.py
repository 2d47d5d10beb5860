"""Objects altered behind the project's back, and brought back as they were: the same bytes in the same parts."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random

from ops_workflows.errors import StorageError
from ops_workflows.storage.objects import StoredPart
from ops_workflows.storage.store import ObjectStore
from ops_workflows.storage.upload import Upload

Change = Callable[[bytes], bytes]
_THREADS = 2
_MOST_TRIES = 1000


@dataclass(frozen=True, slots=True)
class Kept:
    """An object as it was.

    Attributes:
        key: Its key.
        content: Its bytes.
        metadata: What was stored beside them.
        in_parts: Whether it was stored in parts, so that its version tag is the one of parts.
    """

    key: str
    content: bytes
    metadata: dict[str, str] = field(default_factory=dict)
    in_parts: bool = False

    @classmethod
    def of(cls, store: ObjectStore, key: str) -> "Kept":
        """The object as it is now.

        Raises:
            StorageError: It is not there.
        """
        found = store.head(key)
        if found is None:
            raise StorageError(f"{key} is not in {store}, where the fault suite stored it: see who deletes there.")
        return cls(key, store.get(key), dict(found.metadata), "-" in (found.checksum or found.etag))

    def put_back(self, store: ObjectStore) -> None:
        """Bring it back."""
        if not self.in_parts:
            store.put(self.key, self.content, metadata=self.metadata)
            return
        with Upload(store, self.key, threads=_THREADS) as upload:
            upload.write(self.content)
            upload.finish()


@contextmanager
def changed(store: ObjectStore, key: str, change: Change) -> Iterator[None]:
    """An object with other bytes, for the length of a `with`."""
    kept = Kept.of(store, key)
    try:
        replace(store, kept, change(kept.content))
        yield
    finally:
        kept.put_back(store)


@contextmanager
def gone(store: ObjectStore, *keys: str) -> Iterator[None]:
    """Without some objects, for the length of a `with`."""
    kept = [Kept.of(store, key) for key in keys]
    try:
        store.delete(keys)
        yield
    finally:
        for each in kept:
            each.put_back(store)


def replace(store: ObjectStore, kept: Kept, content: bytes) -> None:
    """Store other bytes in the way in which the object was stored."""
    Kept(kept.key, content, kept.metadata, kept.in_parts).put_back(store)


def put_in_parts(store: ObjectStore, key: str, content: bytes, sizes: list[int]) -> None:
    """Store an object in parts of these sizes; the last takes what is left."""
    upload_id, parts, offset = store.begin_upload(key), list[StoredPart](), 0
    try:
        for number, size in enumerate(sizes, start=1):
            body = content[offset:] if number == len(sizes) else content[offset : offset + size]
            parts.append(store.put_part(key, upload_id, number, body, offset=offset))
            offset += len(body)
        store.complete_upload(key, upload_id, parts)
    finally:
        store.abort_upload(key, upload_id)


def flip(chance: Random) -> Change:
    """One bit is another."""

    def flipped(content: bytes) -> bytes:
        return _flipped(content, chance.randrange(len(content)), chance.randrange(8))

    return flipped


def flip_that_tells(chance: Random, read: Callable[[bytes], object]) -> Change:
    """One bit is another, and what is read from the object is, too: some bits of a compressed frame say nothing."""

    def flipped(content: bytes) -> bytes:
        was = read(content)
        for _ in range(_MOST_TRIES):
            damaged = flip(chance)(content)
            try:
                if read(damaged) != was:
                    return damaged
            except Exception:  # noqa: BLE001 - whatever reading meets, the bit has told
                return damaged
        raise ValueError("No bit of the object tells anything.")

    return flipped


def without_end(chance: Random) -> Change:
    """Something is missing at the end."""
    return lambda content: content[: -chance.randint(1, max(1, len(content) // 2))]


def without_beginning(chance: Random) -> Change:
    """Something is missing at the beginning."""
    return lambda content: content[chance.randint(1, max(1, len(content) // 2)) :]


def empty(_chance: Random) -> Change:
    """Nothing is left but the name."""
    return lambda _content: b""


def other_bytes(chance: Random) -> Change:
    """As many bytes, and every one by chance."""
    return lambda content: chance.randbytes(len(content))


def _flipped(content: bytes, at: int, bit: int) -> bytes:
    return content[:at] + bytes([content[at] ^ (1 << bit)]) + content[at + 1 :]
