"""A connection that speaks PostgreSQL's streaming replication protocol, through libpq itself (`psycopg.pq`).

https://www.postgresql.org/docs/current/protocol-replication.html. libpq is used without blocking, so that a server
which is alive but silent (stopped, or cut off without a reset) is noticed after a set time, whatever the kernel thinks.
"""

import select
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import psycopg
from psycopg import pq

from ops_workflows.errors import DatabaseError
from ops_workflows.postgres.connection import cannot_connect, conninfo, describe
from ops_workflows.postgres.lsn import Lsn

Row = tuple[str | None, ...]
_OK = frozenset({pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK})


class ServerError(DatabaseError):
    """PostgreSQL refused a replication command.

    Attributes:
        sqlstate: Its code, https://www.postgresql.org/docs/current/errcodes-appendix.html; empty when it gave none.
    """

    def __init__(self, text: str, sqlstate: str) -> None:
        super().__init__(text)
        self.sqlstate = sqlstate


class EndOfCopyError(Exception):
    """The server ended a COPY stream in good order."""


@dataclass(frozen=True, slots=True)
class System:
    """What IDENTIFY_SYSTEM says: the cluster, the timeline it is on, and how far its log is flushed."""

    identifier: str
    timeline: int
    flushed: Lsn


class ReplicationConnection:
    """One walsender's other end. A context manager; not for several threads.

    Args:
        dsn: libpq URL of a role with REPLICATION.
        timeout: Seconds to connect in.
        stall_seconds: Silence after which the server is given up.
        application_name: What the server calls us, in pg_stat_replication and synchronous_standby_names.

    Raises:
        DatabaseError: It cannot be had; the text says what to do.
    """

    def __init__(self, dsn: str, *, timeout: int, stall_seconds: int, application_name: str = "ops_workflows") -> None:
        text = conninfo(dsn, timeout=timeout, replication="true", application_name=application_name)
        self._where = describe(text)
        self._stall_seconds = stall_seconds
        self._connection = pq.PGconn.connect(text.encode())
        if self._connection.status != pq.ConnStatus.OK:
            said = self._connection.get_error_message()
            self._connection.finish()
            raise cannot_connect(text, said)
        self._connection.nonblocking = 1
        self.wake: int | None = None  # a file descriptor: when it can be read, `receive` does not wait any longer
        self.warnings: list[str] = []  # what the server warned of, in its own words
        self._connection.notice_handler = self._note

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.finish()

    @property
    def server_version(self) -> int:
        """Such as 180006 for 18.6."""
        return self._connection.server_version

    def identify(self) -> System:
        """Which cluster this is."""
        ((identifier, timeline, flushed, _database),) = self.query("IDENTIFY_SYSTEM")
        return System(str(identifier), int(timeline or 0), Lsn.parse(flushed or ""))

    def query(self, command: str) -> list[Row]:
        """Run a command that answers with one table, and read it."""
        self.send(command)
        rows = self.rows()
        self.done()
        return rows

    def send(self, command: str) -> None:
        """Send a command; its answers are then read one after the other."""
        while self._next_result() is not None:
            pass  # what a command that was refused has left unread
        with self._broken_is_said():
            self._connection.send_query(command.encode())
        self._flush()

    def rows(self) -> list[Row]:
        """The next answer, which is a table.

        Raises:
            ServerError: The server refused.
        """
        result = self._result()
        return [
            tuple(
                value.decode() if (value := result.get_value(row, column)) is not None else None
                for column in range(result.nfields)
            )
            for row in range(result.ntuples)
        ]

    def copy_out(self) -> Iterator[memoryview]:
        """The next answer, which is a COPY stream, message by message. Each is good until the next is asked for."""
        result = self._connection_result()
        if result.status != pq.ExecStatus.COPY_OUT:
            raise self._refusal(result)
        while True:
            try:
                length, message = self._connection.get_copy_data(1)
            except psycopg.Error:
                # The server ended the stream with an error. It follows as a result of its own.
                self._result()
                raise
            if length > 0:
                yield message
            elif length == 0:
                self._wait_for_input()
            else:
                return

    def copy_both(self) -> None:
        """Check that the next answer is a COPY stream in both directions; `receive` and `put` then carry it."""
        result = self._connection_result()
        if result.status != pq.ExecStatus.COPY_BOTH:
            raise self._refusal(result)

    def receive(self, timeout: float) -> memoryview | None:
        """The next message of a COPY stream; None when none came within `timeout` seconds.

        Raises:
            EndOfCopyError: The server ended the stream, which it does at the end of a timeline.
            ServerError: It ended the stream with an error.
            DatabaseError: The connection broke.
        """
        deadline = time.monotonic() + timeout
        while True:
            try:
                length, message = self._connection.get_copy_data(1)
            except psycopg.Error:
                self._result()
                raise
            if length > 0:
                return message
            if length < 0:
                raise EndOfCopyError
            left = deadline - time.monotonic()
            if left < 0 or not self._has_input(left):
                return None

    def put(self, message: bytes) -> None:
        """Send one message into a COPY stream."""
        with self._broken_is_said():
            self._connection.put_copy_data(message)
        self._flush()

    def upload(self, command: str, pieces: Iterable[bytes]) -> None:
        """Run a command that wants a COPY stream from us, and give it one.

        Raises:
            ServerError: The server refused the command or what it was given.
        """
        self.send(command)
        result = self._connection_result()
        if result.status != pq.ExecStatus.COPY_IN:
            raise self._refusal(result)
        whole = False
        try:
            for piece in pieces:
                self.put(piece)
            whole = True
        finally:
            if not whole:
                # The server then forgets what it has got, and the connection can be used again.
                self._connection.put_copy_end(b"given up by the client")
        self.end_copy()
        self.done()

    def end_copy(self) -> None:
        """End our direction of a COPY stream."""
        with self._broken_is_said():
            self._connection.put_copy_end()
        self._flush()

    def done(self) -> None:
        """Read what is left of the answers: there must be no error in it."""
        while (result := self._next_result()) is not None:
            if result.status not in _OK:
                raise self._refusal(result)

    def _result(self) -> pq.abc.PGresult:
        result = self._connection_result()
        if result.status not in _OK:
            raise self._refusal(result)
        return result

    def _connection_result(self) -> pq.abc.PGresult:
        result = self._next_result()
        if result is None:
            raise DatabaseError(f"PostgreSQL ({self._where}) ended its answer too soon.")
        return result

    def _next_result(self) -> pq.abc.PGresult | None:
        while self._connection.is_busy():
            self._wait_for_input()
        return self._connection.get_result()

    def _wait_for_input(self) -> None:
        if not self._has_input(self._stall_seconds):
            raise DatabaseError(
                f"PostgreSQL ({self._where}) has been silent for {self._stall_seconds} s: given up. "
                "Is it stopped, or the network cut? OPS_STALL_SECONDS sets how long to wait."
            )

    def _has_input(self, timeout: float) -> bool:
        poll = select.poll()
        poll.register(self._connection.socket, select.POLLIN)
        if self.wake is not None:
            poll.register(self.wake, select.POLLIN)
        if self._connection.socket not in dict(poll.poll(timeout * 1000)):
            return False
        with self._broken_is_said():
            self._connection.consume_input()
        return True

    def _flush(self) -> None:
        deadline = time.monotonic() + self._stall_seconds
        poll = select.poll()
        poll.register(self._connection.socket, select.POLLIN | select.POLLOUT)
        while self._flush_some():
            if not poll.poll(max(0, deadline - time.monotonic()) * 1000):
                raise DatabaseError(f"PostgreSQL ({self._where}) takes no data: given up.")
            with self._broken_is_said():
                self._connection.consume_input()

    def _flush_some(self) -> int:
        with self._broken_is_said():
            return self._connection.flush()

    @contextmanager
    def _broken_is_said(self) -> Iterator[None]:
        try:
            yield
        except psycopg.OperationalError as error:
            raise DatabaseError(f"The connection to PostgreSQL ({self._where}) broke: {_words(str(error))}.") from None

    def _note(self, notice: pq.abc.PGresult) -> None:
        text = _field(notice, pq.DiagnosticField.MESSAGE_PRIMARY)
        if _field(notice, pq.DiagnosticField.SEVERITY_NONLOCALIZED) == "WARNING":
            self.warnings.append(text)

    def _refusal(self, result: pq.abc.PGresult) -> ServerError:
        said = _field(result, pq.DiagnosticField.MESSAGE_PRIMARY) or result.get_error_message()
        detail = _field(result, pq.DiagnosticField.MESSAGE_DETAIL) or _field(result, pq.DiagnosticField.MESSAGE_HINT)
        text = ". ".join(_words(part) for part in (said, *self.warnings[:3], detail) if part)
        return ServerError(f"PostgreSQL ({self._where}): {text}.", _field(result, pq.DiagnosticField.SQLSTATE))


def _field(result: pq.abc.PGresult, field: pq.DiagnosticField) -> str:
    return (result.error_field(field) or b"").decode(errors="replace")


def _words(text: str) -> str:
    return " ".join(text.split()).rstrip(".")
