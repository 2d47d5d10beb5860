"""The files inside a backup's archives, as one stream: fetched, checked, decrypted and unpacked side by side.

Whoever reads it gets each file's bytes as they come; nothing lies on a disk, and memory does not grow with the archive.
"""

import itertools
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ops_workflows.errors import IntegrityError
from ops_workflows.repository.backup import Backup, StoredArchive
from ops_workflows.repository.catalogue import Repository
from ops_workflows.storage.ahead import ahead
from ops_workflows.storage.codec import decompress
from ops_workflows.storage.fetch import fetch

Member = tuple[tarfile.TarInfo, Iterator[memoryview]]
_AHEAD = 4  # pieces between two stages


@contextmanager
def members(
    repository: Repository,
    backup: Backup,
    stored: StoredArchive,
    *,
    threads: int,
    progress: Callable[[int], None] = lambda _bytes: None,
) -> Iterator[Iterator[Member]]:
    """Every member of one archive with its bytes, in the archive's order.

    Each member's bytes are to be read before the next member is asked for. The iterator ends only when the whole
    object has been read and found to be the one that was stored; before that, nothing is to be built on it.

    Args:
        repository: Where the backup lies.
        backup: The backup.
        stored: One of its archives.
        threads: Ranges to fetch at once.
        progress: Called with the compressed bytes of each range that has arrived.

    Raises:
        ConfigurationError: It is encrypted, and no key of ours opens it.
        IntegrityError: The object is missing, truncated or altered, or no archive.
        StorageError: The bucket did not answer.
    """
    key = repository.layout.backup(backup.id, stored.name)
    ranges = fetch(repository.store, key, size=stored.size, sha256=stored.sha256, threads=threads, progress=progress)
    with (
        ahead(ranges, 1) as sealed,
        repository.keys.opened(sealed, key) as compressed,
        ahead(decompress(backup.codec, compressed, key), _AHEAD) as pieces,
    ):
        yield _unpack(_Stream(pieces, key))


class _Stream:
    """An archive's bytes, handed on as they lie in the pieces that they come in: nothing is copied but headers."""

    def __init__(self, pieces: Iterator[bytes], key: str) -> None:
        self._pieces = pieces
        self._present = memoryview(b"")
        self.key = key

    def take(self, size: int) -> Iterator[memoryview]:
        """The next `size` bytes."""
        while size:
            if not self._present:
                self._present = memoryview(self._next())
            taken, self._present = self._present[:size], self._present[size:]
            size -= len(taken)
            yield taken

    def drain(self) -> None:
        """Read to the end, where the checksum of the whole object is known."""
        for _ in self._pieces:
            pass

    def _next(self) -> bytes:
        try:
            return next(self._pieces)
        except StopIteration:
            raise IntegrityError(f"{self.key} is no whole tar archive: it is truncated.") from None


def _unpack(stream: _Stream) -> Iterator[Member]:
    # tarfile reads the headers; its own way of reading a stream copies every byte four times.
    while True:
        header = b"".join(stream.take(tarfile.BLOCKSIZE))
        try:
            member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # a block of zeros: the end
            break
        except tarfile.TarError as error:
            raise IntegrityError(f"{stream.key} is no whole tar archive: {error}.") from error
        size = member.size if member.isreg() else 0
        content = stream.take(size)
        yield member, content
        padding = -size % tarfile.BLOCKSIZE
        for _ in itertools.chain(content, stream.take(padding)):  # whatever the reader has left of it
            pass
    stream.drain()
