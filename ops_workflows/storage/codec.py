"""Compression, as streams: zstd and lz4 frames, the two that PostgreSQL's server can make and that are worth having."""

import sys
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Protocol

import lz4.frame

from ops_workflows.errors import IntegrityError

if sys.version_info >= (3, 14):
    from compression.zstd import CompressionParameter, ZstdCompressor, ZstdDecompressor, ZstdError
else:
    from backports.zstd import CompressionParameter, ZstdCompressor, ZstdDecompressor, ZstdError

PIECE = 1024 * 1024  # of decompressed bytes: bounds memory however well the input had been compressed


class Codec(StrEnum):
    """How an object's bytes are compressed; the value is its name in the catalogue and for PostgreSQL."""

    ZSTD = "zstd"
    LZ4 = "lz4"

    @property
    def suffix(self) -> str:
        """The ending of the names of such objects, as PostgreSQL gives it."""
        return {Codec.ZSTD: ".zst", Codec.LZ4: ".lz4"}[self]


class _Decompressor(Protocol):
    @property
    def needs_input(self) -> bool: ...

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes | None: ...

    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def decompress(codec: Codec, compressed: Iterable[bytes], name: str) -> Iterator[bytes]:
    """The bytes that went in, in pieces of at most 1 MiB.

    Args:
        codec: What they were compressed with.
        compressed: The compressed bytes, in pieces of any size.
        name: What an error calls them.

    Raises:
        IntegrityError: They are no such frame, or end in the middle of one.
    """
    frame = _decompressor(codec)
    inside = False
    try:
        for piece in compressed:
            data = piece
            while data or (inside and not frame.needs_input):
                if frame.eof:  # a further frame follows the last
                    frame = _decompressor(codec)
                out = frame.decompress(data, PIECE)
                inside = not frame.eof
                data = (frame.unused_data or b"") if frame.eof else b""
                if out:
                    yield out
                if frame.eof and not data:
                    break
    except (ZstdError, RuntimeError) as error:  # lz4.frame raises RuntimeError for every fault of its input
        raise IntegrityError(f"{name} cannot be decompressed ({codec}): {error}.") from error
    if inside:
        raise IntegrityError(f"{name} ends in the middle of a {codec} frame: it is truncated.")


def _decompressor(codec: Codec) -> _Decompressor:
    match codec:
        case Codec.ZSTD:
            return ZstdDecompressor()
        case Codec.LZ4:
            frame: _Decompressor = lz4.frame.LZ4FrameDecompressor()
            return frame


def compress(data: bytes | bytearray | memoryview, level: int) -> bytes:
    """One zstd frame of all of these bytes, with their checksum in it."""
    compressor = Compressor(level, workers=0)
    return compressor.compress(memoryview(data)) + compressor.finish()


class Compressor:
    """zstd on our side, for servers that were built without it.

    Args:
        level: 1 (fastest) to 19 (smallest).
        workers: Threads that compress beside the caller; 0 for none.
    """

    def __init__(self, level: int, workers: int) -> None:
        options: dict[int, int] = {
            CompressionParameter.compression_level: level,
            CompressionParameter.nb_workers: workers,
            CompressionParameter.checksum_flag: 1,
        }
        self._frame = ZstdCompressor(options=options)

    def compress(self, data: bytes | memoryview) -> bytes:
        """Compressed bytes, of these or of earlier ones; may be empty."""
        return self._frame.compress(data)

    def finish(self) -> bytes:
        """The rest of the frame."""
        return self._frame.flush()
