"""A bounded queue of bytes between two threads, either of which may leave at any moment: the other hears of it."""

import threading
from collections import deque
from collections.abc import Iterator


class LeftError(Exception):
    """Whoever was to take the bytes has gone."""


class Channel:
    """One thread puts pieces in, another takes them out, at most `depth` of them behind.

    Attributes:
        depth: Pieces that may lie in it.
    """

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self._pieces: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._left = False
        self._error: BaseException | None = None

    def put(self, piece: bytes) -> None:
        """Add a piece; waits while the taker is behind.

        Raises:
            LeftError: The taker has gone.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._left or len(self._pieces) < self.depth)
            if self._left:
                raise LeftError
            self._pieces.append(piece)
            self._changed.notify_all()

    def close(self, error: BaseException | None = None) -> None:
        """No more pieces come; with an error, that is what the taker gets next, and not what still lies here."""
        with self._changed:
            self._closed, self._error = True, error
            self._changed.notify_all()

    def leave(self) -> None:
        """No more pieces are taken."""
        with self._changed:
            self._left = True
            self._pieces.clear()
            self._changed.notify_all()

    def __iter__(self) -> Iterator[bytes]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pieces or self._closed)
                if self._error is not None:
                    raise self._error
                if not self._pieces:
                    return
                piece = self._pieces.popleft()
                self._changed.notify_all()
            yield piece
