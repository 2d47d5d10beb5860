"""What a statement that PostgreSQL runs in several transactions leaves when it is interrupted, and how to begin anew.

https://www.postgresql.org/docs/current/sql-createindex.html#SQL-CREATEINDEX-CONCURRENTLY: an index that is not valid.
"""

import re

from psycopg import sql
from psycopg.errors import LockNotAvailable

from ops_workflows.errors import DatabaseError
from ops_workflows.postgres.connection import Connection
from ops_workflows.schema.script import LockNotHadError
from ops_workflows.schema.source import Source
from ops_workflows.schema.statements import Statement

_NAME = r'(?:"(?:[^"]|"")+"|[^\W\d][\w$]*)'
_QUALIFIED = rf"{_NAME}(?:\s*\.\s*{_NAME})?"
_CREATE = re.compile(
    rf"create\s+(?:unique\s+)?index\s+concurrently\s+(?:if\s+not\s+exists\s+)?(?P<index>{_NAME})\s+on\s+(?:only\s+)?"
    rf"(?P<table>{_QUALIFIED})",
    re.IGNORECASE,
)
_DROP = re.compile(rf"drop\s+index\s+concurrently\s+(?:if\s+exists\s+)?(?P<index>{_QUALIFIED})\s*$", re.IGNORECASE)
# The new index lies in the schema of its table.
_FOUND = """
    SELECT i.indisvalid, format('%%I.%%I', n.nspname, c.relname)
    FROM pg_class t
    JOIN pg_class c ON c.relnamespace = t.relnamespace
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_index i ON i.indexrelid = c.oid AND i.indrelid = t.oid
    WHERE t.oid = to_regclass(%s) AND c.relname = (parse_ident(%s))[1]"""
_REPEATABLE = {("vacuum",), ("alter", "system")}  # to be done once more does no harm


def clear_the_way(connection: Connection, source: Source, statement: Statement) -> None:
    """Drop the invalid index that an interrupted CREATE INDEX CONCURRENTLY of this name has left.

    Raises:
        LockNotHadError: Somebody's transaction is older and does not end.
    """
    made = _CREATE.match(source.text, statement.start, statement.end)
    found = _index(connection, made) if made else None
    if found is not None and not found[0]:
        try:
            connection.execute(sql.SQL("DROP INDEX CONCURRENTLY {}").format(sql.SQL(found[1])))
        except LockNotAvailable as error:
            raise LockNotHadError(
                f"{source.path}, line {source.line(statement.start)}: {found[1]}, which is not valid, cannot be "
                "dropped yet: somebody's transaction is older."
            ) from error


def may_commit(source: Source, statement: Statement) -> bool:
    """Whether a statement may commit in the middle of itself, as a loop in a DO or a procedure does.

    It can only where no transaction is around it, so it is for the file to say that it wants none.
    """
    return source.no_transaction and (statement.begins("do") or statement.begins("call"))


def was_done(connection: Connection, source: Source, statement: Statement) -> bool:
    """Whether a statement that may have been interrupted was carried out, from what the catalogue says.

    Raises:
        DatabaseError: The catalogue does not tell.
    """
    if made := _CREATE.match(source.text, statement.start, statement.end):
        found = _index(connection, made)
        return found is not None and found[0]
    if dropped := _DROP.match(source.text, statement.start, statement.end):
        return connection.execute("SELECT to_regclass(%s)", [dropped["index"]]).fetchone() == (None,)
    if any(statement.begins(*words) for words in _REPEATABLE) or statement.begins("reindex"):
        return False
    bare = may_commit(source, statement)
    if not (statement.stands_alone or statement.controls_transactions or bare):
        return False  # it was carried out in one transaction with the note that it was
    if statement.begins("begin") or statement.begins("start"):
        return False  # what it began was rolled back with the note that it had begun
    if statement.begins("commit") or statement.begins("end"):
        return True  # for the notes on what came before it, which were in its transaction, are there
    whether = "whether, or how far, this" if bare else "whether this"
    raise DatabaseError(
        f"{source.path}, line {source.line(statement.start)}: {whether} statement was carried out before the run "
        "was interrupted cannot be told. See for yourself; if the file is done by then, `ops migrate force` with its "
        "version, else undo what there is of it and force the version before."
    )


def _index(connection: Connection, made: re.Match[str]) -> tuple[bool, str] | None:
    row = connection.execute(_FOUND, [made["table"], made["index"]]).fetchone()
    return (bool(row[0]), str(row[1])) if row else None
