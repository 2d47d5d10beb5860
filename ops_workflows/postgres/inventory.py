"""What a cluster holds: its databases, their schema object by object, and how many rows each table has."""

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Self

from psycopg import errors, sql

from ops_workflows.postgres.connection import Connection
from ops_workflows.postgres.lsn import Lsn

_SCHEMA = files(__package__).joinpath("inventory.sql").read_text().encode()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Which transactions had ended at a moment, and a place in the log that lies behind all their commits.

    Attributes:
        text: PostgreSQL's own notation of a pg_snapshot, `xmin:xmax:xip,…`.
        lsn: The log was at least this long, or on a standby replayed to here, when the snapshot had been taken.
    """

    text: str
    lsn: Lsn

    @classmethod
    def take(cls, connection: Connection) -> Self:
        """The present snapshot, or that of the open transaction."""
        row = connection.execute(
            "SELECT pg_current_snapshot()::text, "
            "CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END::text"
        ).fetchone()
        text, lsn = row or ("", "0/0")
        return cls(text, Lsn.parse(lsn))

    @property
    def next_transaction(self) -> int:
        """The id that the next transaction would have got."""
        return int(self.text.split(":")[1])

    @property
    def quiet(self) -> bool:
        """Whether no transaction that writes was under way."""
        return not self.text.split(":")[2]


def databases(connection: Connection) -> list[str]:
    """Names of the databases that can be connected to, templates left out."""
    query = "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY datname"
    return [name for (name,) in connection.execute(query)]


def schema(connection: Connection) -> dict[str, str]:
    """Every object of the database that is connected to: its identity, and a digest of its definition (16 hex)."""
    with connection.transaction():
        connection.execute("SET LOCAL search_path = ''")
        rows = connection.execute(_SCHEMA).fetchall()
    return {str(identity): hashlib.sha256(str(definition).encode()).hexdigest()[:16] for identity, definition in rows}


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


def count(connection: Connection, table: str, settled: Snapshot | None = None) -> int | None:
    """Rows of a table, its children not included; None when it is gone, locked, or its row security keeps rows from us.

    Args:
        connection: To its database, inside a transaction.
        table: One of `tables`.
        settled: Count only rows that were committed by this snapshot and that nobody has since touched in order to
            delete them: those, and maybe more, are in every state of the database from that snapshot to now.
    """
    query = sql.SQL("SELECT count(*) FROM ONLY {}").format(sql.SQL(table))
    if settled is not None:
        # xmin and xmax have 32 bits, snapshots 64: the epoch is that of the snapshot, or the one before it.
        query += sql.SQL("""
            WHERE xmax = '0'::xid AND pg_visible_in_snapshot(
                (CASE WHEN xmin::text::bigint <= {next} & 4294967295 THEN {next} & ~4294967295::bigint
                      ELSE greatest(0, ({next} & ~4294967295::bigint) - 4294967296) END
                 + xmin::text::bigint)::text::xid8, {snapshot}::pg_snapshot)
            """).format(next=sql.SQL("{}::bigint").format(settled.next_transaction), snapshot=settled.text)
    try:
        with connection.transaction():
            connection.execute(
                "SET LOCAL row_security = off"
            )  # an error, and not fewer rows, where a policy hides some
            row = connection.execute(query).fetchone()
    except (
        errors.UndefinedTable,
        errors.LockNotAvailable,
        errors.ObjectNotInPrerequisiteState,
        errors.InsufficientPrivilege,
    ):
        return None
    return int(row[0]) if row else None
