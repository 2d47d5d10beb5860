"""age as streams. `pyrage` pulls from a reader and pushes to a writer until the end, so it gets a thread of its own.

It turns what the reader or the writer raises into texts of its own; the first such error is kept and raised instead.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import pyrage

from ops_workflows.errors import IntegrityError
from ops_workflows.storage.channel import Channel, LeftError

_PIECE = 256 * 1024  # gathered before it is handed to the neighbouring thread: age itself reads 8 KiB at a time
_AHEAD = 4  # pieces between the two
_NO_KEY_FITS = "No matching keys"

Identities = list[Any]
Recipients = list[Any]


class NoKeyFitsError(Exception):
    """It was encrypted to other keys."""


class Sealing:
    """A writer between a stream and where its encrypted bytes go. A context manager: left early, it writes no more.

    Args:
        recipients: Public keys to encrypt to.
        write: Takes the encrypted bytes, in the cipher's thread; may wait, and then `write` here waits too.
    """

    def __init__(self, recipients: Recipients, write: Callable[[bytes], object]) -> None:
        self._recipients = recipients
        self._plain = Channel(_AHEAD)
        self._gathered = _Gathered(self._plain.put)
        self._streams = _Streams(self._plain, write)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="age", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._plain.close(LeftError())
        self._thread.join()

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes.

        Raises:
            OpsError: What `write` raised on earlier ones.
        """
        try:
            self._gathered.write(data)
        except LeftError:
            self._end()

    def finish(self) -> None:
        """Encrypt the rest; every byte has been written when it returns.

        Raises:
            OpsError: What `write` raised.
        """
        try:
            self._gathered.flush()
        except LeftError:
            self._end()
        self._plain.close()
        self._end()

    def _end(self) -> None:
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            with self._streams.raising():
                pyrage.encrypt_io(self._streams, self._streams, self._recipients)
        except BaseException as error:  # noqa: BLE001 - carried over to the writer's thread and raised there
            self._error = error
        finally:
            self._plain.leave()


@contextmanager
def opened(sealed: Iterator[bytes], identities: Identities, name: str) -> Iterator[Iterator[bytes]]:
    """The bytes before encryption, decrypted ahead of whoever reads them, within flat memory.

    Args:
        sealed: The encrypted bytes, in pieces of any size.
        identities: Secret keys.
        name: What an error calls them.

    Raises:
        NoKeyFitsError: They were encrypted to other keys.
        IntegrityError: They are truncated or altered.
    """
    plain = Channel(_AHEAD)

    def run() -> None:
        end: BaseException | None = None
        gathered = _Gathered(plain.put)
        streams = _Streams(sealed, gathered.write)
        try:
            with streams.raising(), told_apart(name):
                pyrage.decrypt_io(streams, streams, identities)
            for _ in sealed:  # its end may have something to say, such as that a checksum differs
                pass
            gathered.flush()
        except BaseException as error:  # noqa: BLE001 - carried over to the reader's thread and raised there
            end = error
        plain.close(end)

    thread = threading.Thread(target=run, name="age", daemon=True)
    thread.start()
    try:
        yield iter(plain)
    finally:
        plain.leave()
        thread.join()


@contextmanager
def told_apart(name: str) -> Iterator[None]:
    """Errors of decryption as ours."""
    try:
        yield
    except pyrage.DecryptError as error:
        if _NO_KEY_FITS in str(error):
            raise NoKeyFitsError from None
        raise _altered(name) from None
    except OSError:
        raise _altered(name) from None


def _altered(name: str) -> IntegrityError:
    return IntegrityError(f"{name} cannot be decrypted: it is truncated or altered.")


class _Gathered:
    """Small writes made into large ones."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._held = bytearray()

    def write(self, data: bytes | memoryview) -> None:
        self._held += data
        if len(self._held) >= _PIECE:
            self.flush()

    def flush(self) -> None:
        held, self._held = bytes(self._held), bytearray()
        if held:
            self._write(held)


class _Streams:
    """What pyrage reads from and writes to."""

    def __init__(self, pieces: Iterable[bytes], write: Callable[[bytes], object]) -> None:
        self._pieces = iter(pieces)
        self._present = memoryview(b"")
        self._write = write
        self._error: BaseException | None = None

    def read(self, size: int) -> bytes:
        try:
            while not self._present:
                piece = next(self._pieces, None)
                if piece is None:
                    return b""
                self._present = memoryview(piece)
        except BaseException as error:
            self._error = self._error or error
            raise
        taken, self._present = self._present[:size], self._present[size:]
        return bytes(taken)

    def write(self, data: bytes) -> int:
        try:
            self._write(data)
        except BaseException as error:
            self._error = self._error or error
            raise
        return len(data)

    def flush(self) -> None:
        """There is nothing between us and the neighbour."""

    @contextmanager
    def raising(self) -> Iterator[None]:
        """Raise what reading or writing met, whatever became of it in pyrage: of its last write's error, nothing."""
        try:
            yield
        except BaseException:
            if self._error is not None:
                raise self._error from None
            raise
        if self._error is not None:
            raise self._error
