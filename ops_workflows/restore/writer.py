"""Files written by a few threads, each file durable before it counts: while one is synced, the next are written."""

import os
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from ops_workflows.errors import RefusedError
from ops_workflows.postgres.account import Account

Piece = bytes | memoryview
_PIECES = 8  # that may wait for one thread, of at most 1 MiB each


class _Thread(threading.Thread):
    """Writes what it is handed, one file after the other, and after an error only takes it."""

    def __init__(self, owner: Account | None) -> None:
        super().__init__(name="write", daemon=True)
        self.work: queue.Queue[tuple[Path, int] | Piece | None] = queue.Queue(_PIECES)
        self.error: OSError | None = None
        self._owner = owner
        self._handle: int | None = None
        self._path: str | None = None
        self.start()

    def run(self) -> None:
        while True:
            item = self.work.get()
            try:
                if not isinstance(item, Piece):
                    self._close()
                if item is None:
                    return
                if self.error is None:
                    self._open(*item) if isinstance(item, tuple) else self._write(item)
            except OSError as error:
                error.filename = error.filename or self._path  # a write knows only its handle
                self.error = self.error or error

    def _open(self, path: Path, mode: int) -> None:
        self._path = str(path)
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        if self._owner is not None:
            os.fchown(self._handle, self._owner.uid, self._owner.gid)

    def _write(self, piece: Piece) -> None:
        if self._handle is not None:
            written = os.write(self._handle, piece)
            while written < len(piece):
                written += os.write(self._handle, piece[written:])

    def _close(self) -> None:
        if self._handle is not None:
            handle, self._handle = self._handle, None
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


class DurableWriter:
    """Writes new files. A context manager: leaving it without an error means that every file is on the disk.

    The names of the files are durable only once their folders are synced, which is the caller's.
    """

    def __init__(self, owner: Account | None, threads: int = 3) -> None:
        self._threads = [_Thread(owner) for _ in range(threads)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for thread in self._threads:
            thread.work.put(None)
        for thread in self._threads:
            thread.join()
        if error is None:
            self._check()

    def write(self, path: Path, mode: int, content: Iterator[Piece]) -> None:
        """Hand over a new file. It is written after this returns.

        Raises:
            RefusedError: An earlier file could not be written: the disk is full, or worse.
        """
        self._check()
        thread = min(self._threads, key=lambda thread: thread.work.qsize())
        thread.work.put((path, mode))
        for piece in content:
            thread.work.put(piece)

    def _check(self) -> None:
        for thread in self._threads:
            if thread.error is not None:
                said = f"{thread.error.filename}: {thread.error.strerror}"
                raise RefusedError(f"Cannot write {said}. Make room or choose another folder.")
