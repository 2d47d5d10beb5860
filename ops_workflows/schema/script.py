"""Running the statements of a migration file, and saying where in the file an error arose."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import generators

from ops_workflows.errors import DatabaseError
from ops_workflows.postgres.connection import Connection
from ops_workflows.schema.source import Source
from ops_workflows.schema.statements import Statement

_CARET_WIDTH = 100  # characters of a line that are shown around the place of an error


class LockNotHadError(DatabaseError):
    """A statement has waited for a lock for as long as it may: nothing of it was done."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A statement that was carried out.

    Attributes:
        tag: What PostgreSQL says it did, such as `UPDATE 1000`.
        warnings: What it warned of.
    """

    tag: str
    warnings: tuple[str, ...]


def run_statement(connection: Connection, source: Source, statement: Statement) -> Ran:
    """Send one statement of a file.

    Raises:
        LockNotHadError: It has waited too long for a lock.
        DatabaseError: PostgreSQL refused it; the text names file, line and what PostgreSQL said.
    """
    warnings: list[str] = []

    def listen(notice: psycopg.errors.Diagnostic) -> None:
        if notice.severity_nonlocalized == "WARNING":
            warnings.append(notice.message_primary or "")

    connection.add_notice_handler(listen)
    try:
        connection.pgconn.send_query(source.text[statement.start : statement.end].encode())
        (result,) = connection.wait(generators.execute(connection.pgconn))
        if result.error_message:
            raise psycopg.errors.error_from_result(result)
    except psycopg.Error as error:
        raise _failed(source, statement, error) from error
    finally:
        connection.remove_notice_handler(listen)
    return Ran((result.command_status or b"").decode(), tuple(warnings))


@contextmanager
def transaction(connection: Connection, source: Source) -> Iterator[None]:
    """One transaction for a file.

    Raises:
        DatabaseError: What the file has put off until the end does not hold; the text names its last statement, for
            what follows that is the commit.
    """
    try:
        with connection.transaction():
            yield
    except psycopg.Error as error:
        last = source.statements[-1] if source.statements else Statement(0, 0, ())
        raise _failed(source, last, error) from error


def require_open(connection: Connection, source: Source) -> None:
    """See to it that a file has left the transaction open that it is run in.

    Raises:
        DatabaseError: It has not, or waits for what nobody will send.
    """
    _require_state(connection, source, psycopg.pq.TransactionStatus.INTRANS)


def require_idle(connection: Connection, source: Source) -> None:
    """See to it that a file has ended each transaction that it began.

    Raises:
        DatabaseError: It has not; the transaction is rolled back.
    """
    _require_state(connection, source, psycopg.pq.TransactionStatus.IDLE)


def describe(error: psycopg.Error) -> str:
    """What PostgreSQL, or the connection to it, said: one sentence with its detail and hint."""
    diag = error.diag
    said = [diag.message_primary or " ".join(str(error).split()), diag.message_detail, diag.message_hint]
    if diag.context:
        said.append(f"In {diag.context.splitlines()[0]}")
    return ". ".join(part.rstrip(".") for part in said if part) + "."


def _failed(source: Source, statement: Statement, error: psycopg.Error) -> DatabaseError:
    """File, line, what PostgreSQL said, and where it names a place, the line with a caret under it."""
    kind = LockNotHadError if isinstance(error, psycopg.errors.LockNotAvailable) else DatabaseError
    position = error.diag.statement_position
    at = statement.start if position is None else statement.start + int(position) - 1
    place = "" if position is None else caret(source.text, at)
    return kind(f"{source.path}, line {source.line(at)}: {describe(error)}{place}")


def caret(text: str, at: int) -> str:
    """The line of a character, and a caret under it, to be put behind a sentence."""
    start = text.rfind("\n", 0, at) + 1
    line = text[start:].partition("\n")[0].rstrip("\r").replace("\t", " ")
    column = min(at - start, len(line))
    shown = max(0, column - _CARET_WIDTH // 2)
    return f"\n    {line[shown : shown + _CARET_WIDTH]}\n    {' ' * (column - shown)}^"


def _require_state(connection: Connection, source: Source, wanted: psycopg.pq.TransactionStatus) -> None:
    status = connection.info.transaction_status
    if status == wanted:
        return
    # Closing is the one way out of every state, and rolls back what is open.
    connection.close()
    if status == psycopg.pq.TransactionStatus.ACTIVE:
        raise DatabaseError(
            f"{source.path} waits for data of COPY … FROM STDIN, which a migration cannot send: use INSERT."
        )
    if status == psycopg.pq.TransactionStatus.IDLE:
        raise DatabaseError(
            f"{source.path} ends the transaction that it is run in: write “-- ops: no-transaction” above its first "
            "statement."
        )
    raise DatabaseError(f"{source.path} begins a transaction and does not end it: add COMMIT, or remove BEGIN.")
