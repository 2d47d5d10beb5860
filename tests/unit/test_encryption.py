"""Encryption by itself: what goes in comes out, whoever may not read is told so, and nothing altered passes."""

import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as within
from hypothesis import strategies as st

from ops_workflows.errors import ConfigurationError, IntegrityError, StorageError
from ops_workflows.storage.encryption import HEADER_BYTES, Keys, new_identity, public_keys

NAME = "backups/base.tar.zst.age"
MiB = 1024 * 1024


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    return written(tmp_path / "identity")


@pytest.fixture
def keys(identity: Path) -> Keys:
    return Keys.of(", ".join(public_keys(identity)), identity)


def written(file: Path) -> Path:
    file.write_text(new_identity())
    return file


def sealed(keys: Keys, pieces: list[bytes]) -> bytes:
    out: list[bytes] = []
    seal(keys, pieces, out.append)
    return b"".join(out)


def seal(keys: Keys, pieces: Iterable[bytes], write: Callable[[bytes], None]) -> None:
    sealing = keys.sealing(write)
    assert sealing is not None
    with sealing:
        for piece in pieces:
            sealing.write(memoryview(piece))
        sealing.finish()


def opened(keys: Keys, content: bytes, step: int = MiB) -> bytes:
    with keys.opened(cut(content, step), NAME) as pieces:
        return b"".join(pieces)


def cut(content: bytes, step: int) -> Iterator[bytes]:
    return (content[start : start + step] for start in range(0, len(content), step))


@given(sizes=st.lists(st.integers(0, 200_000), max_size=6), step=st.integers(1000, 300_000))
@within(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_stream_comes_back_whatever_its_pieces(keys: Keys, sizes: list[int], step: int) -> None:
    pieces = [bytes([number % 256]) * size for number, size in enumerate(sizes)]
    assert opened(keys, sealed(keys, pieces), step) == b"".join(pieces)


def test_a_stream_and_a_small_object_are_the_same_format(keys: Keys) -> None:
    assert opened(keys, keys.seal(b"one")) == b"one"
    assert keys.open(sealed(keys, [b"two"]), NAME) == b"two"


def test_each_recipient_can_read_and_nobody_else(tmp_path: Path) -> None:
    ours, escrow, other = (written(tmp_path / name) for name in ("ours", "escrow", "other"))
    host = Keys.of(",".join(public_keys(ours) + public_keys(escrow)), None)
    content = host.seal(b"rows")
    for identity in (ours, escrow):
        assert Keys((), identity).open(content, NAME) == b"rows"
        Keys((), identity).require(host.recipients, "Backup x")
        Keys((), identity).require_header(content[:HEADER_BYTES], NAME)
    stranger = Keys((), other)
    for attempt in (
        lambda: stranger.open(content, NAME),
        lambda: opened(stranger, content),
        lambda: stranger.require(host.recipients, NAME),
        lambda: stranger.require_header(content, NAME),
    ):
        with pytest.raises(ConfigurationError, match=f"{NAME} is encrypted to other keys .* OPS_AGE_IDENTITY_FILE"):
            attempt()
    for attempt in (
        lambda: host.open(content, NAME),
        lambda: opened(host, content),
        lambda: host.require(host.recipients, NAME),
        lambda: host.require_header(content, NAME),
    ):
        with pytest.raises(ConfigurationError, match=f"{NAME} is encrypted and OPS_AGE_IDENTITY_FILE is not set"):
            attempt()


def test_without_recipients_bytes_pass_as_they_are() -> None:
    assert Keys().seal(b"plain") == b"plain"
    assert Keys().sealing(lambda _: None) is None
    assert Keys().open(b"plain", "base.tar.zst") == b"plain"
    assert Keys().suffix == ""


@pytest.mark.parametrize("where", [0.0, 0.3, 0.999999])
def test_one_altered_bit_is_found_and_the_object_named(keys: Keys, where: float) -> None:
    content = bytearray(sealed(keys, [bytes(MiB)]))
    content[int(len(content) * where)] ^= 1
    with pytest.raises(IntegrityError, match=f"{NAME} cannot be decrypted"):
        opened(keys, bytes(content))


@pytest.mark.parametrize("kept", [0, 10, 400, 65552 * 4, -17, -1])
def test_a_truncated_object_is_found(keys: Keys, kept: int) -> None:
    with pytest.raises(IntegrityError, match=f"{NAME} cannot be decrypted"):
        opened(keys, sealed(keys, [bytes(MiB)])[:kept])


def test_what_follows_the_end_is_found(keys: Keys) -> None:
    with pytest.raises(IntegrityError):
        opened(keys, sealed(keys, [bytes(MiB)]) + b"more")


def test_what_the_source_raises_reaches_the_reader(keys: Keys) -> None:
    content = sealed(keys, [bytes(4 * MiB)])

    def failing() -> Iterator[bytes]:
        yield content[:MiB]
        raise StorageError("the bucket is gone")

    with pytest.raises(StorageError, match="the bucket is gone"), keys.opened(failing(), NAME) as pieces:
        for _ in pieces:
            pass


def test_what_the_source_says_at_its_very_end_reaches_the_reader(keys: Keys) -> None:
    def altered() -> Iterator[bytes]:
        yield sealed(keys, [b"rows"])
        raise IntegrityError("its checksum differs")

    with pytest.raises(IntegrityError, match="its checksum differs"), keys.opened(altered(), NAME) as pieces:
        for _ in pieces:
            pass


@pytest.mark.parametrize("pieces", [[], [b"short"], [bytes(MiB)] * 100], ids=["empty", "short", "long"])
def test_what_the_sink_raises_reaches_the_writer(keys: Keys, pieces: list[bytes]) -> None:
    def full(_: bytes) -> None:
        raise StorageError("the bucket is full")

    with pytest.raises(StorageError, match="the bucket is full"):
        seal(keys, pieces, full)


def test_nothing_runs_on_when_either_side_leaves(keys: Keys) -> None:
    content = sealed(keys, [bytes(16 * MiB)])
    with keys.opened(cut(content, MiB), NAME) as pieces:
        next(pieces)
    ends: list[bytes] = []

    def leaving() -> Iterator[bytes]:
        yield bytes(4 * MiB)
        raise ValueError("left")

    with pytest.raises(ValueError, match="left"):
        seal(keys, leaving(), ends.append)
    with pytest.raises(IntegrityError):
        opened(keys, b"".join(ends))  # what was written is no whole object
    assert not [thread for thread in threading.enumerate() if thread.name == "age"]


def test_settings_that_cannot_be_right_are_explained_without_the_secret(tmp_path: Path) -> None:
    secret = new_identity().splitlines()[1]
    with pytest.raises(ConfigurationError, match="OPS_AGE_RECIPIENTS has 'age1xyz'") as refused:
        Keys.of("age1xyz", None)
    with pytest.raises(ConfigurationError, match="has a secret key") as refused:
        Keys.of(secret, None)
    assert secret not in str(refused.value)
    for content in ("", "# nothing\n", secret[:-1], "hello"):
        file = tmp_path / "identity"
        file.write_text(content)
        with pytest.raises(ConfigurationError, match=f"OPS_AGE_IDENTITY_FILE {file} is no identity file") as refused:
            public_keys(file)
        assert "AGE-SECRET-KEY-1" + secret[16:30] not in str(refused.value)
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        public_keys(tmp_path / "missing")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        public_keys(tmp_path)
