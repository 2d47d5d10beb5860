"""Which compression a backup uses: what the server can do decides, so the best is asked for first."""

from collections.abc import Iterator
from dataclasses import dataclass

from ops_workflows.postgres.replication import ServerError
from ops_workflows.settings import Settings
from ops_workflows.storage.codec import Codec, Compressor

_NOT_SUPPORTED = frozenset({"0A000", "42601"})  # feature_not_supported; syntax_error, for “invalid compression …”


@dataclass(frozen=True, slots=True)
class Compression:
    """One way to compress.

    Attributes:
        codec: The format.
        by_server: Whether the server does it.
        level: Of zstd.
        workers: Threads of zstd.
    """

    codec: Codec
    by_server: bool
    level: int
    workers: int

    @property
    def method(self) -> str | None:
        """COMPRESSION of BASE_BACKUP; None for none."""
        return self.codec.value if self.by_server else None

    @property
    def detail(self) -> str | None:
        """COMPRESSION_DETAIL of BASE_BACKUP."""
        if not self.by_server or self.codec is not Codec.ZSTD:
            return None
        return f"level={self.level}" + (f",workers={self.workers}" if self.workers else "")

    def compressor(self) -> Compressor | None:
        """A new compressor on our side; None where the server compresses."""
        return None if self.by_server else Compressor(self.level, self.workers)

    def object_name(self, archive: str) -> str:
        """Under which name the archive is stored that the server calls `archive`."""
        return archive if self.by_server else f"{archive}{self.codec.suffix}"


def choices(settings: Settings) -> Iterator[Compression]:
    """The ways to try, best first. The last of `auto` needs nothing of the server."""
    level, workers = settings.backup_zstd_level, settings.backup_zstd_workers
    if settings.backup_codec in {"auto", "zstd"}:
        yield Compression(Codec.ZSTD, True, level, workers)
        if workers:  # a libzstd without threads refuses them, and compresses all the same
            yield Compression(Codec.ZSTD, True, level, 0)
    if settings.backup_codec in {"auto", "lz4"}:
        yield Compression(Codec.LZ4, True, level, 0)
    if settings.backup_codec in {"auto", "client-zstd"}:
        yield Compression(Codec.ZSTD, False, level, workers)


def not_built_in(error: ServerError) -> bool:
    """Whether a server refused a backup only because it was built without that compression."""
    return error.sqlstate in _NOT_SUPPORTED and "compression" in str(error)
