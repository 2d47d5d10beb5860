"""START_REPLICATION: the write-ahead log as it is written, and our word to the server on how far it is safe.

https://www.postgresql.org/docs/current/protocol-replication.html#PROTOCOL-REPLICATION-START-REPLICATION-SLOT-PHYSICAL
The slot holds back the server's WAL until we say that it is flushed, so “flushed” is ours to define: here it means that
the bucket has acknowledged the bytes.
"""

import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ops_workflows.errors import DatabaseError, RefusedError
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.postgres.replication import EndOfCopyError, ReplicationConnection, ServerError

_OBJECT_IN_USE = "55006"
_DUPLICATE_OBJECT = "42710"
_FEATURE_NOT_SUPPORTED = "0A000"
_EPOCH = 946_684_800  # PostgreSQL counts microseconds since 2000-01-01
_LOOKED_BEFORE = timedelta(milliseconds=100)
_WAL_HEADER = 25  # kind, start, end, time


@dataclass(frozen=True, slots=True)
class Slot:
    """A physical replication slot; both fields are None while it holds back nothing."""

    restart: Lsn | None
    timeline: int | None


@dataclass(frozen=True, slots=True)
class Wal:
    """WAL from this place on; good until the next message is asked for.

    Attributes:
        start: Where it begins.
        content: Its bytes.
        all_until: At this time, by the server's clock, the server had nothing beyond; None if it had.
    """

    start: Lsn
    content: memoryview
    all_until: datetime | None


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """The server's WAL ends here at the moment; perhaps it wants to hear from us at once."""

    end: Lsn
    reply_now: bool


@dataclass(frozen=True, slots=True)
class TimelineEnded:
    """The timeline ended, and the next one begins at this place: there was a promotion."""

    next_timeline: int
    begins: Lsn


Message = Wal | KeepAlive | TimelineEnded


def read_slot(connection: ReplicationConnection, name: str) -> Slot | None:
    """A slot as the server knows it; None when there is none of that name.

    Raises:
        RefusedError: There is one, and it is logical.
    """
    try:
        ((kind, restart, timeline),) = connection.query(f'READ_REPLICATION_SLOT "{name}"')
    except ServerError as error:
        if error.sqlstate != _FEATURE_NOT_SUPPORTED:
            raise
        raise RefusedError(
            f"Replication slot {name} is logical and not physical: choose another name, OPS_WAL_SLOT."
        ) from None
    if kind is None:
        return None
    return Slot(Lsn.parse(restart) if restart else None, int(timeline) if timeline else None)


def create_slot(connection: ReplicationConnection, name: str) -> None:
    """Make a physical slot, which holds back nothing before the first report; no error when it is there already."""
    try:
        connection.query(f'CREATE_REPLICATION_SLOT "{name}" PHYSICAL')
    except ServerError as error:
        if error.sqlstate != _DUPLICATE_OBJECT:
            raise


def drop_slot(connection: ReplicationConnection, name: str) -> None:
    """Remove a slot that nobody uses."""
    connection.query(f'DROP_REPLICATION_SLOT "{name}"')


def timeline_history(connection: ReplicationConnection, timeline: int) -> tuple[str, bytes]:
    """Name and content of a timeline's history file; timeline 1 has none."""
    ((name, content),) = connection.query(f"TIMELINE_HISTORY {timeline}")
    return str(name), str(content).encode()


class WalStream:
    """The server's WAL from a place on one timeline. Messages are read, and progress is reported, from one thread."""

    def __init__(self, connection: ReplicationConnection, slot: str, start: Lsn, timeline: int) -> None:
        """Begin to stream.

        Raises:
            RefusedError: Another receiver uses the slot.
            ServerError: The server no longer has that WAL, or refuses for another reason.
        """
        self._connection = connection
        self._ended = False
        connection.send(f'START_REPLICATION SLOT "{slot}" PHYSICAL {start} TIMELINE {timeline}')
        try:
            connection.copy_both()
        except ServerError as error:
            if error.sqlstate == _OBJECT_IN_USE:
                raise RefusedError(
                    f"Another receiver streams through slot {slot} already ({error}) One is enough."
                ) from None
            raise

    def messages(self, timeout: float) -> Iterator[Message]:
        """Everything that has arrived; waits up to `timeout` seconds for the first.

        After `TimelineEnded` nothing more comes.

        Raises:
            DatabaseError: The connection broke, or the server ended the stream.
        """
        wait = timeout
        while (message := self._next(wait)) is not None:
            yield message
            if isinstance(message, TimelineEnded):
                return
            wait = 0

    def report(self, received: Lsn, flushed: Lsn, *, reply_now: bool = False) -> None:
        """Tell the server how far its WAL has arrived and how far it is safe; the slot moves to the latter.

        At the end of a timeline nobody listens any more; what became safe since, the next stream's report says.
        """
        if self._ended:
            return
        now = int((time.time() - _EPOCH) * 1_000_000)
        self._connection.put(struct.pack(">cQQQQB", b"r", received, flushed, flushed, now, reply_now))

    def close(self) -> None:
        """End the stream in good order; what is still under way is dropped."""
        if self._ended:
            return
        self._connection.end_copy()
        with suppress(EndOfCopyError):
            while self._connection.receive(1) is not None:
                pass

    def _next(self, timeout: float) -> Message | None:
        try:
            message = self._connection.receive(timeout)
        except EndOfCopyError:
            return self._end_of_timeline()
        if message is None:
            return None
        kind = bytes(message[:1])
        if kind == b"w":
            start, end, sent = struct.unpack_from(">QQQ", message, 1)
            content = message[_WAL_HEADER:]
            return Wal(Lsn(start), content, _before(sent) if start + len(content) == end else None)
        if kind == b"k":
            end, _time, reply_now = struct.unpack_from(">QQB", message, 1)
            return KeepAlive(Lsn(end), bool(reply_now))
        raise DatabaseError(f"PostgreSQL sent a message of kind {kind!r} in a WAL stream, which no manual describes.")

    def _end_of_timeline(self) -> TimelineEnded:
        self._ended = True
        try:
            self._connection.end_copy()
            ((timeline, begins),) = self._connection.rows()
        except (DatabaseError, ValueError):
            raise DatabaseError("PostgreSQL ended the WAL stream: it is shutting down.") from None
        self._connection.done()
        return TimelineEnded(int(timeline or 0), Lsn.parse(begins or ""))


def _before(sent: int) -> datetime:
    """A time at which what was sent was all there was: the server looks first, and reads the clock when it sends."""
    return datetime.fromtimestamp(_EPOCH, UTC) + timedelta(microseconds=sent) - _LOOKED_BEFORE
