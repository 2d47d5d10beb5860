"""Running one migration file as one query, and saying where in it an error arose."""

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
from psycopg import generators

from ops_workflows.errors import ConfigurationError, DatabaseError
from ops_workflows.postgres.connection import Connection

# What must be recognised to know which semicolons end a statement. An E'' string is tried before a word is.
_TOKEN = re.compile(
    r"""
      (?P<blank>   \s+ | --[^\n]* )
    | (?P<comment> /\* )
    | (?P<quoted>  [eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*"
                 | \$(?P<tag>[^\W\d]\w*)?\$ .*? \$(?(tag)(?P=tag))\$ )
    | (?P<word>    [^\W\d][\w$]* )
    | (?P<mark>    . )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")


def run_script(connection: Connection, path: Path) -> tuple[str, ...]:
    """Send a whole file as one simple query: outside a transaction block, it is one implicit transaction.

    Returns:
        The warnings that PostgreSQL gave.

    Raises:
        ConfigurationError: The file cannot be read as UTF-8 text.
        DatabaseError: PostgreSQL refused it; the text names file, line and what PostgreSQL said.
    """
    try:
        sql = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"The migration {path} cannot be read: {error}.") from None
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
        place = _place(path, sql, error, completed)
        raise DatabaseError(f"{place}: {describe(error)}") from error
    finally:
        connection.remove_notice_handler(listen)
    _expect_idle(connection, path)
    return tuple(warnings)


def describe(error: psycopg.Error) -> str:
    """What PostgreSQL, or the connection to it, said: one sentence with its detail and hint."""
    diag = error.diag
    said = [diag.message_primary or " ".join(str(error).split()), diag.message_detail, diag.message_hint]
    if diag.context:
        said.append(f"In {diag.context.splitlines()[0]}")
    return ". ".join(part.rstrip(".") for part in said if part) + "."


def statement_starts(sql: str) -> Iterator[int]:
    """Offsets at which the statements of a script begin, comments and empty statements left out."""
    at, depth, atomic, begun, last_word = 0, 0, False, False, ""
    while match := _TOKEN.match(sql, at):
        at = match.end()
        kind, text = match.lastgroup, match.group()
        if kind == "tag":
            kind = "quoted"
        if kind == "comment":
            at = _comment_end(sql, at)
        if kind in {"blank", "comment"}:
            continue
        if text == ";" and depth == 0:
            begun, last_word = False, ""
            continue
        if not begun:
            begun, atomic = True, False
            yield match.start()
        word = text.lower() if kind == "word" else ""
        # A function body in standard SQL holds semicolons between BEGIN ATOMIC and END; a rule holds them in brackets.
        opens_body = word == "atomic" and last_word == "begin"
        atomic = atomic or opens_body
        if text == "(" or opens_body or (atomic and word == "case"):
            depth += 1
        elif text == ")" or (atomic and word == "end"):
            depth -= 1
        last_word = word


def _comment_end(sql: str, at: int) -> int:
    """Where a comment ends that was opened before `at`; in PostgreSQL they nest."""
    depth = 1
    while depth and (edge := _COMMENT_EDGE.search(sql, at)):
        depth += 1 if edge.group() == "/*" else -1
        at = edge.end()
    return len(sql) if depth else at


def _place(path: Path, sql: str, error: psycopg.Error, completed: int) -> str:
    """File and line of a failure: PostgreSQL's own position, else the first line of the statement that failed."""
    position = error.diag.statement_position
    if position is not None:
        offset = int(position) - 1
    else:
        starts = list(statement_starts(sql))
        # Without a message of the server's, the connection was lost, and we do not know how far the server came.
        if error.diag.message_primary is None or completed >= len(starts):
            return str(path)
        # What fails only when the transaction commits is reported with the last statement.
        offset = starts[completed]
    return f"{path}, line {sql.count(chr(10), 0, offset) + 1}"


def _expect_idle(connection: Connection, path: Path) -> None:
    status = connection.info.transaction_status
    if status == psycopg.pq.TransactionStatus.IDLE:
        return
    # Closing is the one way out of every state, and rolls back what is open.
    connection.close()
    if status == psycopg.pq.TransactionStatus.ACTIVE:
        raise DatabaseError(f"{path} waits for data of COPY … FROM STDIN, which a migration cannot send: use INSERT.")
    raise DatabaseError(f"{path} begins a transaction and does not end it: remove BEGIN, each file is one transaction.")
