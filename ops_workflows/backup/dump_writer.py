"""The objects of one dump on their way into the bucket, encrypted if there are keys to encrypt to."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from ops_workflows.repository.backup import StoredArchive
from ops_workflows.repository.dump import Dump
from ops_workflows.repository.dumps import RECORD, Dumps
from ops_workflows.repository.records import sealed
from ops_workflows.storage.checksums import sha256_base64
from ops_workflows.storage.upload import Upload

Write = Callable[[bytes], None]


class DumpWriter:
    """Writes a dump's objects, the record last.

    Attributes:
        stored: What the bucket has acknowledged so far, without the record.
    """

    def __init__(self, dumps: Dumps, dump_id: str, *, threads: int) -> None:
        self.stored: list[StoredArchive] = []
        self._dumps = dumps
        self._store = dumps.repository.store
        self._keys = dumps.repository.keys
        self._id = dump_id
        self._threads = threads

    def put(self, name: str, plain: bytes) -> None:
        """Store a small object whole."""
        name, body = f"{name}{self._keys.suffix}", self._keys.seal(plain)
        done = self._store.put(self._dumps.key(self._id, name), body, lock=True)
        sha256, checksum = hashlib.sha256(body).hexdigest(), sha256_base64(body)
        self.stored.append(StoredArchive(name=name, size=done.size, sha256=sha256, etag=done.etag, checksum=checksum))

    @contextmanager
    def stream(self, name: str, expected_bytes: int) -> Iterator[Write]:
        """Store a large object: what is written inside a `with` becomes one, unless the `with` ends in an error."""
        name = f"{name}{self._keys.suffix}"
        upload = Upload(
            self._store, self._dumps.key(self._id, name), threads=self._threads, expected_bytes=expected_bytes
        )
        with upload, self._keys.sealing(upload.write) or nullcontext() as sealing:
            yield upload.write if sealing is None else sealing.write
            if sealing is not None:
                sealing.finish()
            done = upload.finish()
        self.stored.append(
            StoredArchive(name=name, size=done.size, sha256=done.sha256, etag=done.etag, checksum=done.checksum)
        )

    def record(self, dump: Dump) -> None:
        """Make the dump exist."""
        body = sealed(dump)
        self._store.put(self._dumps.key(self._id, RECORD), body, if_absent=True, lock=True)

    def remove(self) -> None:
        """Take back what was stored of a dump that will not be.

        Raises:
            StorageError: The bucket may be what failed: then the next dump's sweep removes it.
        """
        self._store.delete(found.key for found in self._store.objects(self._dumps.key(self._id)))
