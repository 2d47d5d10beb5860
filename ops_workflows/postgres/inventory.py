"""What a cluster holds: its databases, their schema object by object, and how many rows each table has.

And what of that was certainly there at an earlier moment, too. Of a row that is seen now it is certain where the
transaction that made it had ended by then, and none that was still under way then has touched it since. A table's rows
and the catalog's are alike in that.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise
from typing import Self

from psycopg import errors, sql

from ops_workflows.postgres.connection import Connection
from ops_workflows.postgres.lsn import Lsn

EDITION = 2
"""Of the way in which definitions are digested: digests of different editions cannot be compared."""

_SCHEMA = files(__package__).joinpath("inventory.sql").read_text().encode()
_SNAPSHOT = files(__package__).joinpath("snapshot.sql").read_text().encode()
_BLOCKS_AT_ONCE = 32_768  # of 8 kB: what one statement counts, so that none is silent for long, however big the table
_EPOCH = 2**32  # rows and catalogs have the last 32 bits of a transaction's id only


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Which transactions had ended at a moment, and a place in the log that lies behind all their commits.

    Attributes:
        oldest: Each transaction with a lower id had ended, and so had its subtransactions: their ids are higher than
            their parent's. Of those from here on some had not; a snapshot's own list of them leaves subtransactions
            out, and is always empty on a standby.
        next: The id that the next transaction would have got. Where it equals `oldest`, none that writes was under way,
            not even one that has committed in the log and waits for a synchronous standby before anybody may see it.
        lsn: The log was at least this long, or on a standby replayed to here, when the snapshot had been taken.
    """

    oldest: int
    next: int
    lsn: Lsn

    @classmethod
    def take(cls, connection: Connection) -> Self:
        """The present snapshot, or that of the open transaction."""
        oldest, following, lsn = connection.execute(_SNAPSHOT).fetchone() or (0, 0, "0/0")
        return cls(oldest, following, Lsn.parse(lsn))


@dataclass(frozen=True, slots=True)
class Definition:
    """An object of a database.

    Attributes:
        digest: Of its definition, 16 hex digits.
        writers: Ids, modulo 2^32, of the transactions that wrote the catalog rows that make it up, or have begun to
            delete them.
    """

    digest: str
    writers: frozenset[int]

    def is_settled(self, undecided: range) -> bool:
        """Whether none of these transactions has touched it. What it refers to by name may still have been renamed."""
        return not any(_is_among(writer, undecided) for writer in self.writers)


def databases(connection: Connection) -> list[str]:
    """Names of the databases that can be connected to, templates left out.

    Neither is one whose DROP DATABASE was interrupted, which PostgreSQL marks by a limit of -2 connections.
    """
    query = """
        SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate AND datconnlimit <> -2
        ORDER BY datname"""
    return [name for (name,) in connection.execute(query)]


def is_database_settled(connection: Connection, undecided: range) -> bool:
    """Whether none of these transactions has made or renamed the database that is connected to."""
    query = "SELECT xmin::text::bigint, xmax::text::bigint FROM pg_database WHERE datname = current_database()"
    return not any(_is_among(writer, undecided) for row in connection.execute(query) for writer in row)


def definitions(connection: Connection) -> dict[str, Definition]:
    """Every object of the database that is connected to, by its identity.

    An identity begins with a word for the kind. Who owns an object and may use it is an entry of its own, `rights on …`
    and the object's identity, and so is the order of a table's columns.
    """
    with connection.transaction():
        connection.execute("SET LOCAL search_path = ''")
        rows = connection.execute(_SCHEMA).fetchall()
    return {
        str(identity): Definition(
            hashlib.sha256(str(definition).encode()).hexdigest()[:16], frozenset(map(int, writers.split()))
        )
        for identity, definition, writers in rows
    }


def schema(connection: Connection) -> dict[str, str]:
    """Every object of the database that is connected to: its identity, and a digest of its definition (16 hex)."""
    return {identity: found.digest for identity, found in definitions(connection).items()}


def tables(connection: Connection) -> list[str]:
    """Tables and materialized views whose rows the write-ahead log carries: no unlogged, temporary or foreign ones.

    Returns:
        `schema.name`, quoted by the server where SQL wants it.
    """
    query = """
        SELECT format('%I.%I', n.nspname, c.relname)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'm') AND c.relpersistence = 'p'
          AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
        ORDER BY 1"""
    return [name for (name,) in connection.execute(query)]


def read_whole(connection: Connection, table: str) -> int:
    """Make the server read every row of a table with all its columns, out-of-line values too; their number.

    Needs a superuser: the server copies the table to /dev/null.
    """
    copy = sql.SQL("COPY (SELECT * FROM ONLY {}) TO '/dev/null'").format(sql.SQL(table))
    return connection.execute(copy).rowcount


def count(connection: Connection, table: str, undecided: range = range(0)) -> int | None:
    """Rows of a table, its children not included.

    Args:
        connection: To its database, inside a transaction that keeps to one snapshot. Each of many statements counts a
            part of the table: the connection's bound on a statement need not grow with the table.
        table: One of `tables`.
        undecided: Ids of transactions: from the oldest that had not ended at an earlier moment to the newest of now.
            Rows that one of them made, and those that anybody has since touched, maybe in order to delete them, are
            left out: what remains was there at every moment since, and more may have been. A deletion may be in the log
            and not be seen yet, so that to be visible is not enough.

    Returns:
        None when the table is gone, locked, too slow to be read, or its row security keeps rows from us.
    """
    try:
        with connection.transaction():
            # An error, and not fewer rows, where a policy hides some.
            connection.execute("SET LOCAL row_security = off")
            size = "SELECT pg_relation_size(to_regclass(%s)) / current_setting('block_size')::bigint"
            (blocks,) = connection.execute(size, [table]).fetchone() or (None,)
            return sum(_count(connection, table, part, undecided) for part in _parts(blocks or 0))
    except (
        errors.UndefinedTable,
        errors.LockNotAvailable,
        errors.ObjectNotInPrerequisiteState,
        errors.InsufficientPrivilege,
        errors.QueryCanceled,
    ):
        return None


def _count(connection: Connection, table: str, part: list[sql.Composable], undecided: range) -> int:
    conditions = list(part)
    if undecided:
        # All modulo 2^32: a row whose id may be one of these is left out, whichever epoch it is from.
        made_before = sql.SQL("((xmin::text::bigint - {}) & {}) >= {}")
        conditions.append(sql.SQL("xmax = '0'::xid"))
        conditions.append(made_before.format(undecided.start, _EPOCH - 1, len(undecided)))
    query = sql.SQL("SELECT count(*) FROM ONLY {}").format(sql.SQL(table))
    if conditions:
        query += sql.SQL(" WHERE ") + sql.SQL(" AND ").join(conditions)
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0


def _parts(blocks: int) -> Iterator[list[sql.Composable]]:
    """The conditions that split a table of this size; none if it is small. The last part is open, for tables grow."""
    edges = [f"({block},0)" for block in range(_BLOCKS_AT_ONCE, blocks, _BLOCKS_AT_ONCE)]
    for start, end in pairwise([None, *edges, None]):
        above = [sql.SQL("ctid >= {}::tid").format(start)] if start else []
        below = [sql.SQL("ctid < {}::tid").format(end)] if end else []
        yield [*above, *below]


def _is_among(transaction: int, ids: range) -> bool:
    """Whether an id of 32 bits may be one of these of 64."""
    return transaction != 0 and (transaction - ids.start) % _EPOCH < len(ids)
