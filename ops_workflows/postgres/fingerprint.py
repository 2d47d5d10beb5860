"""What a table holds, in a few bytes that are equal wherever it holds the same: how many rows, and a hash over them.

Each row is written out as text, under settings that are the same on every server, and hashed with the function behind
hash partitioning, which PostgreSQL keeps stable across versions. The hashes are added up: order does not matter, a
row that is there twice counts twice, and a partitioned table's hash is the sum of its partitions'. Where adding up
every row would cost too much, the hashes of some rows are kept instead, and each of them must be found again.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Self

from psycopg import sql

from ops_workflows.postgres.connection import Connection

_TABLES = files(__package__).joinpath("fingerprint.sql").read_text().encode()
_SAMPLED_BLOCKS = 256
_SAMPLED_ROWS = 1000
_SETTINGS = {
    # What the text of a value depends on.
    "bytea_output": "hex",
    "DateStyle": "ISO, YMD",
    "extra_float_digits": "3",
    "IntervalStyle": "postgres",
    "lc_monetary": "C",
    "quote_all_identifiers": "off",
    "search_path": "",
    "TimeZone": "UTC",
    # Rows that the role may not see are an error, never left out in silence.
    "row_security": "off",
    # The session waits, its transaction open, while pg_dump works.
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
}


@dataclass(frozen=True, slots=True)
class Table:
    """A table with rows of its own.

    Attributes:
        oid: In its database.
        namespace: Its schema, as it is.
        name: Its name, as it is.
        quoted: `schema.name`, quoted by the server where SQL wants it.
        columns: In the order in which they are hashed.
        partition_of: The partitioned tables above it, quoted.
        hidden: Whether row security keeps rows of it from the role that asks.
    """

    oid: int
    namespace: str
    name: str
    quoted: str
    columns: tuple[str, ...]
    partition_of: tuple[str, ...]
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Content:
    """What a table holds.

    Attributes:
        rows: Exactly how many.
        hash: The sum of all rows' hashes, decimal; None where only some were hashed.
        sample: Hashes of those some rows.
    """

    rows: int
    hash: str | None
    sample: tuple[int, ...] = ()

    @classmethod
    def together(cls, parts: Iterable["Content"]) -> Self:
        """What a partitioned table holds whose partitions hold `parts`."""
        parts = tuple(parts)
        sums = [part.hash for part in parts]
        known = [int(each) for each in sums if each is not None]
        whole = str(sum(known)) if len(known) == len(sums) else None
        return cls(sum(part.rows for part in parts), whole, tuple(one for part in parts for one in part.sample))


def settle(connection: Connection) -> None:
    """Give a session the settings under which equal rows have equal text, and under which it may wait.

    A server that is too old for one of them does without it.
    """
    for name, value in _SETTINGS.items():
        connection.execute(
            "SELECT set_config(name, %s, false) FROM pg_settings WHERE lower(name) = lower(%s)", [value, name]
        )


def tables(connection: Connection) -> list[Table]:
    """The tables of a database whose rows a dump carries."""
    return [
        Table(oid, namespace, name, quoted, tuple(columns), tuple(above), hidden)
        for oid, namespace, name, quoted, columns, above, hidden in connection.execute(_TABLES)
    ]


def content(connection: Connection, table: str, columns: Sequence[str], *, most_bytes: int | None = None) -> Content:
    """What a table holds; of an inheritance, without its children.

    Args:
        connection: Settled.
        table: Quoted.
        columns: Those to hash, in this order.
        most_bytes: A table that is larger is counted, and only some of its rows are hashed. None: hash every row.
    """
    names = {"table": sql.SQL(table), "hash": _hash(columns)}
    size = connection.execute("SELECT pg_table_size(%s::regclass)", [table]).fetchone()
    if most_bytes is None or (size and size[0] <= most_bytes):
        query = sql.SQL("SELECT count(*), coalesce(sum({hash}), 0)::text FROM ONLY {table} AS t")
        rows, whole = connection.execute(query.format(**names)).fetchone() or (0, "0")
        return Content(rows, whole)
    counted = connection.execute(sql.SQL("SELECT count(*) FROM ONLY {table}").format(**names)).fetchone()
    # Ordered by hash, which picks evenly among the rows of the chosen blocks.
    query = sql.SQL("""
        SELECT {hash} FROM ONLY {table} AS t TABLESAMPLE SYSTEM (
            least(100, 100.0 * {blocks} * current_setting('block_size')::int / greatest(1, pg_relation_size({name})))
        ) REPEATABLE (0) ORDER BY 1 LIMIT {rows}""")
    sample = connection.execute(
        query.format(**names, name=sql.Literal(table), blocks=_SAMPLED_BLOCKS, rows=_SAMPLED_ROWS)
    ).fetchall()
    return Content(counted[0] if counted else 0, None, tuple(one for (one,) in sample))


def difference(connection: Connection, table: str, columns: Sequence[str], expected: Content) -> str | None:
    """How a table differs from what it should hold, as a clause; None when it does not.

    Args:
        connection: Settled.
        table: Quoted.
        columns: As they were hashed.
        expected: What it should hold.
    """
    if expected.hash is not None:
        found = content(connection, table, columns)
        if found.rows == expected.rows and found.hash != expected.hash:
            return f"{table} has its {found.rows:,} rows, but their content differs"
        return None if found == expected else _too_few_or_many(table, found.rows, expected)
    wanted = Counter(expected.sample)
    query = sql.SQL("""
        SELECT hash, count(*) FROM (SELECT {hash} AS hash FROM ONLY {table} AS t) AS hashed
        WHERE hash = ANY({wanted}) GROUP BY 1""").format(
        hash=_hash(columns), table=sql.SQL(table), wanted=sql.Literal(list(wanted))
    )
    hashes: dict[int, int] = dict(connection.execute(query).fetchall())
    counted = connection.execute(sql.SQL("SELECT count(*) FROM ONLY {}").format(sql.SQL(table))).fetchone()
    rows = counted[0] if counted else 0
    if rows != expected.rows:
        return _too_few_or_many(table, rows, expected)
    missing = len([one for one, times in wanted.items() if hashes.get(one, 0) < times])
    return f"{table} lacks {missing} of the {len(wanted)} rows that were hashed" if missing else None


def _too_few_or_many(table: str, rows: int, expected: Content) -> str:
    return f"{table} has {rows:,} rows and not {expected.rows:,}"


def _hash(columns: Sequence[str]) -> sql.Composed:
    row = sql.SQL(", ").join(sql.Identifier("t", name) for name in columns)
    return sql.SQL('hashtextextended(ROW({})::text COLLATE "C", 0)').format(row)
