"""Running SQL of a migration file as one query, and saying where in the file an error arose."""

from collections.abc import Sequence

import psycopg
from psycopg import generators

from ops_workflows.errors import DatabaseError
from ops_workflows.postgres.connection import Connection
from ops_workflows.schema.source import Source
from ops_workflows.schema.statements import Statement

_CARET_WIDTH = 100  # characters of a line that are shown around the place of an error


class LockNotHadError(DatabaseError):
    """A statement has waited for a lock for as long as it may: nothing of it was done."""


def run_whole(connection: Connection, source: Source) -> tuple[str, ...]:
    """Send a whole file as one simple query, inside the transaction that is open.

    Returns:
        The warnings that PostgreSQL gave.

    Raises:
        LockNotHadError: It has waited too long for a lock.
        DatabaseError: PostgreSQL refused it; the text names file, line and what PostgreSQL said.
    """
    warnings = _run(connection, source, source.text, 0, source.statements)
    _require_state(connection, source, psycopg.pq.TransactionStatus.INTRANS)
    try:
        connection.execute(
            "SET CONSTRAINTS ALL IMMEDIATE"
        )  # so that what is deferred fails here, where the file is known
    except psycopg.Error as error:
        raise DatabaseError(_said(source, error, 0, source.statements, len(source.statements) - 1)) from error
    return warnings


def run_statement(connection: Connection, source: Source, statement: Statement) -> tuple[str, ...]:
    """Send one statement of a file.

    Returns:
        The warnings that PostgreSQL gave.

    Raises:
        LockNotHadError: It has waited too long for a lock.
        DatabaseError: PostgreSQL refused it; the text names file, line and what PostgreSQL said.
    """
    return _run(connection, source, source.text[statement.start : statement.end], statement.start, [statement])


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


def _run(
    connection: Connection, source: Source, sql: str, offset: int, statements: Sequence[Statement]
) -> tuple[str, ...]:
    warnings: list[str] = []
    completed = 0

    def listen(notice: psycopg.errors.Diagnostic) -> None:
        if notice.severity_nonlocalized == "WARNING":
            warnings.append(notice.message_primary or "")

    connection.add_notice_handler(listen)
    try:
        # As cursor.execute() does it, which drops the results before a failure: their number tells which one failed.
        connection.pgconn.send_query(sql.encode())
        results = connection.wait(generators.execute(connection.pgconn))
        completed = len(results) - 1
        failed = next((result for result in results if result.error_message), None)
        if failed is not None:
            raise psycopg.errors.error_from_result(failed)
    except psycopg.Error as error:
        kind = LockNotHadError if isinstance(error, psycopg.errors.LockNotAvailable) else DatabaseError
        raise kind(_said(source, error, offset, statements, completed)) from error
    finally:
        connection.remove_notice_handler(listen)
    return tuple(warnings)


def _said(source: Source, error: psycopg.Error, offset: int, statements: Sequence[Statement], completed: int) -> str:
    """File, line, what PostgreSQL said, and where it names a place, the line with a caret under it."""
    position = error.diag.statement_position
    if position is not None:
        at = offset + int(position) - 1
        return f"{source.path}, line {source.line(at)}: {describe(error)}{_caret(source.text, at)}"
    # Without a message of the server's, the connection was lost, and we do not know how far the server came.
    if error.diag.message_primary is None or completed >= len(statements):
        return f"{source.path}: {describe(error)}"
    # What fails only when the transaction commits is reported with the last statement.
    return f"{source.path}, line {source.line(statements[completed].start)}: {describe(error)}"


def _caret(text: str, at: int) -> str:
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
