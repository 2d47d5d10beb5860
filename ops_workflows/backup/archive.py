"""Where the bytes of one archive go: compressed on our side if the server did not do it, encrypted, into the bucket."""

from types import TracebackType
from typing import Self

from ops_workflows.repository.backup import StoredArchive
from ops_workflows.storage.codec import Compressor
from ops_workflows.storage.encryption import Keys
from ops_workflows.storage.upload import Upload


class ArchiveSink:
    """A writer that becomes one object. A context manager: left without `finish()`, it leaves nothing.

    Args:
        name: The object's, as the record is to have it.
        upload: Where the bytes go.
        compressor: What they pass through first; None if they are compressed already.
        keys: Whose recipients they are encrypted to; without any, and for None, they are not.
    """

    def __init__(self, name: str, upload: Upload, compressor: Compressor | None, keys: Keys | None = None) -> None:
        self._name = name
        self._upload = upload
        self._compressor = compressor
        self._sealing = keys.sealing(upload.write) if keys else None

    def __enter__(self) -> Self:
        self._upload.__enter__()
        if self._sealing is not None:
            self._sealing.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._sealing is not None:
            self._sealing.__exit__(kind, error, trace)  # first: it may be waiting for the upload, which still goes on
        self._upload.__exit__(kind, error, trace)

    def write(self, data: memoryview) -> None:
        """Take the next bytes of the archive; waits while the bucket is behind."""
        if self._compressor is None:
            self._pass_on(data)
        elif compressed := self._compressor.compress(data):
            self._pass_on(compressed)

    def finish(self) -> StoredArchive:
        """What the bucket acknowledged."""
        if self._compressor is not None:
            self._pass_on(self._compressor.finish())
        if self._sealing is not None:
            self._sealing.finish()
        done = self._upload.finish()
        return StoredArchive(
            name=self._name, size=done.size, sha256=done.sha256, etag=done.etag, checksum=done.checksum
        )

    def _pass_on(self, data: bytes | memoryview) -> None:
        if self._sealing is None:
            self._upload.write(data)
        else:
            self._sealing.write(data)
