"""One table carried from any server into the living database, under a new name, in one transaction.

What comes: the columns with their types, every row, and then keys, uniqueness and checks. What does not: defaults,
identity, foreign keys, triggers, further indexes and privileges; so nothing living comes to depend on the copy, and it
on nothing but types. It is proved before it is committed; until then nobody sees it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files

import psycopg
from psycopg import errors, sql

from ops_workflows.errors import IntegrityError, RefusedError
from ops_workflows.postgres.connection import Connection
from ops_workflows.postgres.fingerprint import Content, difference, settle
from ops_workflows.progress import SILENT, Progress

_COLUMNS = files(__package__).joinpath("table_columns.sql").read_text().encode()
_CONSTRAINTS = """
    SELECT pg_get_constraintdef(oid) FROM pg_constraint
    WHERE conrelid = %s::regclass AND contype IN ('p', 'u', 'x', 'c') ORDER BY contype = 'c', contype, conname"""
_TARGET = """
    SELECT to_regclass(%(name)s) IS NOT NULL, n.oid IS NOT NULL, coalesce(has_schema_privilege(n.oid, 'CREATE'), false)
    FROM (SELECT) AS one LEFT JOIN pg_namespace AS n ON n.nspname = %(schema)s"""
_KIND = "SELECT relkind = 'p' FROM pg_class WHERE oid = %s::regclass"
_BATCH = 256 * 1024


@dataclass(frozen=True, slots=True)
class Copied:
    """A table that was carried over.

    Attributes:
        table: Its new name, quoted.
        rows: Those that it has.
        left_out: Constraints that the living database could not take, with the reason.
    """

    table: str
    rows: int
    left_out: tuple[str, ...]


def parts(living: Connection, name: str) -> tuple[str, str]:
    """Schema and table out of what a person wrote, by SQL's rules.

    Raises:
        RefusedError: It is not of the form schema.table.
    """
    try:
        schema, table = (living.execute("SELECT parse_ident(%s)", [name]).fetchone() or ((),))[0]
    except (errors.InvalidParameterValue, ValueError):
        raise RefusedError(
            f"{name} cannot be a table's name: write schema.table, in double quotes where SQL wants it."
        ) from None
    return str(schema), str(table)


def refuse_impossible(living: Connection, target: tuple[str, str]) -> None:
    """Make sure that a table of that name can be made, and that there is none.

    Raises:
        RefusedError: It cannot, or there is.
    """
    schema, name = target[0], sql.Identifier(*target).as_string(living)
    taken, known, may = living.execute(_TARGET, {"schema": schema, "name": name}).fetchone() or (True, False, False)
    if taken:
        raise RefusedError(f"{name} is there already and nothing is ever overwritten: choose another name, --as.")
    if not known:
        raise RefusedError(f"The living database has no schema {schema}: create it, or choose another, --as.")
    if not may:
        raise RefusedError(f"Role {living.info.user} may create nothing in schema {schema}: GRANT CREATE, or --as.")


def copy_table(
    source: Connection,
    table: str,
    living: Connection,
    target: tuple[str, str],
    *,
    hashed: tuple[Sequence[str], Content],
    progress: Progress = SILENT,
) -> Copied:
    """Carry a table over.

    Args:
        source: To its database on any server: one that a dump was loaded into, one that was recovered to a moment.
        table: Its name there, quoted. Of a partitioned table the rows of all its partitions come.
        living: To the living database, as a role that may create the table.
        target: Schema and name that it gets.
        hashed: The columns that were hashed, and what they must hold (see `postgres.fingerprint`).
        progress: Hears of the rows' bytes.

    Raises:
        RefusedError: The name is taken, or the living database cannot have such a table; the text says why.
        IntegrityError: What came is not what it must be. Nothing is left of it.
        DatabaseError: A server failed.
    """
    columns, expected = hashed
    copy = sql.Identifier(*target)
    name = copy.as_string(living)
    for connection in (source, living):
        settle(connection)
        connection.execute("SET client_encoding = 'UTF8'")
    refuse_impossible(living, target)
    with living.transaction():
        _create(source, table, living, copy)
        _copy_rows(source, table, living, copy, progress)
        progress.begin("verify", None)
        if differing := difference(living, name, columns, expected):
            raise IntegrityError(f"{differing}: it is not what was there, and nothing of it was kept.")
        left_out = tuple(_constrain(source, table, living, copy))
    return Copied(name, expected.rows, left_out)


def _create(source: Connection, table: str, living: Connection, target: sql.Identifier) -> None:
    columns = [
        sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(definition))
        for column, definition in source.execute(_COLUMNS, {"table": table})
    ]
    statement = sql.SQL("CREATE TABLE {} ({})").format(target, sql.SQL(", ").join(columns))
    with _possible(target.as_string(living)):
        living.execute(statement)


def _copy_rows(source: Connection, table: str, living: Connection, target: sql.Identifier, progress: Progress) -> None:
    names = [name for name, _ in source.execute(_COLUMNS, {"table": table})]
    columns = sql.SQL(", ").join(map(sql.Identifier, names))
    row = source.execute(_KIND, [table]).fetchone()
    # Of a partitioned table the partitions have the rows; of an inheritance the children have rows of their own.
    origin = sql.SQL(table) if row and row[0] else sql.SQL("ONLY ") + sql.SQL(table)
    give = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT").format(columns, origin)
    take = sql.SQL("COPY {} {} FROM STDIN").format(target, sql.SQL("({})").format(columns) if names else sql.SQL(""))
    progress.begin("copy rows", None)
    with (
        _possible(target.as_string(living)),
        source.cursor().copy(give) as giving,
        living.cursor().copy(take) as taking,
    ):
        batch, done = bytearray(), 0
        for piece in giving:
            batch += piece
            if len(batch) >= _BATCH:
                taking.write(bytes(batch))
                done += len(batch)
                progress.advance(done)
                batch.clear()
        taking.write(bytes(batch))


def _constrain(source: Connection, table: str, living: Connection, target: sql.Identifier) -> Iterator[str]:
    for (definition,) in source.execute(_CONSTRAINTS, [table]).fetchall():
        statement = sql.SQL("ALTER TABLE {} ADD {}").format(target, sql.SQL(definition))
        try:
            with living.transaction():
                living.execute(statement)
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            yield f"{definition}: {error.diag.message_primary}"


@contextmanager
def _possible(name: str) -> Iterator[None]:
    try:
        yield
    except (errors.InsufficientPrivilege, errors.ProgrammingError, errors.DataError, errors.IntegrityError) as error:
        raise RefusedError(
            f"The living database cannot have {name} as it was: {error.diag.message_primary or error}. "
            "Bring back what it lacks, or choose another schema, --as."
        ) from error
