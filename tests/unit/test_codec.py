from collections.abc import Iterator

import lz4.frame
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_workflows.errors import IntegrityError
from ops_workflows.storage.codec import PIECE, Codec, Compressor, decompress

CONTENT = st.one_of(
    st.binary(max_size=5000),
    st.builds(lambda piece, times: piece * times, st.binary(min_size=1, max_size=100), st.integers(1, 20_000)),
)


def compressed(codec: Codec, content: bytes) -> bytes:
    if codec is Codec.LZ4:
        return bytes(lz4.frame.compress(content))
    compressor = Compressor(3, 0)
    return compressor.compress(content) + compressor.finish()


def cut(content: bytes, sizes: list[int]) -> Iterator[bytes]:
    """The content in pieces of these sizes, the last of which is repeated."""
    at, turn = 0, 0
    while at < len(content):
        size = sizes[min(turn, len(sizes) - 1)]
        yield content[at : at + size]
        at, turn = at + size, turn + 1


@pytest.mark.parametrize("codec", Codec)
@given(content=CONTENT, sizes=st.lists(st.integers(1, 70_000), min_size=1, max_size=20), empty=st.booleans())
@settings(max_examples=60, deadline=None)
def test_whatever_the_pieces_the_same_comes_out(codec: Codec, content: bytes, sizes: list[int], empty: bool) -> None:
    pieces = list(cut(compressed(codec, content), sizes))
    if empty:
        pieces = [each for piece in pieces for each in (b"", piece, b"")]
    found = list(decompress(codec, pieces, "it"))
    assert b"".join(found) == content
    assert all(len(piece) <= PIECE for piece in found)


@pytest.mark.parametrize("codec", Codec)
@given(parts=st.lists(CONTENT, min_size=2, max_size=4), size=st.integers(1, 5000))
@settings(max_examples=40, deadline=None)
def test_frames_that_follow_one_another_are_one_stream(codec: Codec, parts: list[bytes], size: int) -> None:
    frames = b"".join(compressed(codec, part) for part in parts)
    assert b"".join(decompress(codec, cut(frames, [size]), "it")) == b"".join(parts)


@pytest.mark.parametrize("codec", Codec)
@given(content=st.binary(min_size=1, max_size=3000), left=st.floats(0.01, 0.999), size=st.integers(1, 500))
@settings(max_examples=60, deadline=None)
def test_a_truncated_stream_is_noticed(codec: Codec, content: bytes, left: float, size: int) -> None:
    whole = compressed(codec, content)
    short = whole[: max(1, int(len(whole) * left))]
    if len(short) == len(whole):
        short = whole[:-1]
    with pytest.raises(IntegrityError, match="it"):
        list(decompress(codec, cut(short, [size]), "it"))


@pytest.mark.parametrize("codec", Codec)
def test_what_is_no_such_frame_is_named(codec: Codec) -> None:
    with pytest.raises(IntegrityError, match=r"base\.tar cannot be decompressed"):
        list(decompress(codec, [b"this is no frame of any kind"], "base.tar"))


def test_nothing_is_nothing() -> None:
    assert list(decompress(Codec.ZSTD, [], "it")) == []


@given(pieces=st.lists(st.binary(max_size=3000), max_size=10), workers=st.integers(0, 2), level=st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_compressing_piece_by_piece(pieces: list[bytes], workers: int, level: int) -> None:
    compressor = Compressor(level, workers)
    out = b"".join(compressor.compress(piece) for piece in pieces) + compressor.finish()
    assert b"".join(decompress(Codec.ZSTD, [out], "it")) == b"".join(pieces)
