"""What the server says of the application's tables, indexes, sequences and vacuums: asked, and put into typed rows."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.resources import files

from psycopg import errors
from psycopg.rows import class_row

from ops_workflows.errors import RefusedError
from ops_workflows.postgres.connection import Connection

_LOCK_SECONDS = 5  # for whoever locks a table just as we look at it
_LEAST_COUNTED = 0.9  # of the rows that ANALYZE found, which is an estimate itself
_MEASURING_SECONDS = 60  # for all tables together, which a large one would exceed by itself
# The schema is that of the extension, as the catalogue quotes it.
_MEASURE_TABLE = (
    "SELECT table_len, dead_tuple_len, approx_free_space FROM {schema}.pgstattuple_approx(%(relation)s::oid::regclass)"
)
_MEASURE_BTREE = """
    SELECT index_size, (deleted_pages + empty_pages) * %(block)s, leaf_pages * %(block)s * (1 - avg_leaf_density / 100)
    FROM {schema}.pgstatindex(%(relation)s::oid::regclass) WHERE leaf_pages > 0"""

_KEEPS_TIMES = (
    b"SELECT current_setting('track_commit_timestamp')::boolean "
    b"AND has_function_privilege('pg_control_checkpoint()', 'execute')"
)
_FIRST_TIME = b"SELECT pg_xact_commit_timestamp(nullif(oldest_commit_ts_xid, '0'::xid)) FROM pg_control_checkpoint()"


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What holds for the whole database.

    Attributes:
        database: Its name.
        is_standby: Whether the server is one, which counts nothing of what was written.
        now: The server's clock.
        counted_since: When its counters began; None if unknown.
        sees_all: Whether this role sees what others' sessions do.
        counts: Whether rows are counted at all (track_counts).
        autovacuum: Whether it is on.
        most_workers: Of autovacuum, at once.
        workers: That are at work; 0 for whoever does not see all.
        vacuum_threshold: Dead rows that any table may have,
        vacuum_scale_factor: and those beside each live one, before autovacuum comes.
        vacuum_max_threshold: Which that never exceeds; None or negative: no bound.
        block_bytes: Size of a block.
        pgstattuple: Schema of the functions that measure bloat; None where this role may not call them.
    """

    database: str
    is_standby: bool
    now: datetime
    counted_since: datetime | None
    sees_all: bool
    counts: bool
    autovacuum: bool
    most_workers: int
    workers: int
    vacuum_threshold: int
    vacuum_scale_factor: float
    vacuum_max_threshold: int | None
    block_bytes: int
    pgstattuple: str | None


@dataclass(frozen=True, slots=True)
class Table:
    """A table, a materialized view, or the TOAST table of one, which has its name.

    Attributes:
        oid: Of it.
        name: Of the table, with its schema, quoted where need be.
        is_toast: Whether it holds the values that another one stores out of line.
        is_heap: Whether it is stored as PostgreSQL's own tables are.
        reltuples: Rows when it was last vacuumed or analyzed; -1 if never.
        pages: Likewise, blocks.
        bytes: Its size now, without indexes; None while somebody has it to themselves.
        fillfactor: Percent of a block that inserts fill.
        live_rows: As the counters know them,
        dead_rows: likewise.
        vacuumed_at: When last, by whomever; None if never, or if the counters were lost since.
        analyzed_at: Likewise.
        autovacuum: Whether the table's options let it come.
        vacuum_threshold: The table's own; None for the server's.
        vacuum_scale_factor: Likewise.
        vacuum_max_threshold: Likewise.
        age: Of its oldest transaction or multixact, as a fraction of that at which a vacuum is forced.
        has_statistics: Whether the planner's statistics of a column are there, as far as this role sees.
        shows_statistics: Whether it would see them.
    """

    oid: int
    name: str
    is_toast: bool
    is_heap: bool
    reltuples: float
    pages: int
    bytes: int | None
    fillfactor: int
    live_rows: int
    dead_rows: int
    vacuumed_at: datetime | None
    analyzed_at: datetime | None
    autovacuum: bool
    vacuum_threshold: int | None
    vacuum_scale_factor: float | None
    vacuum_max_threshold: int | None
    age: float
    has_statistics: bool
    shows_statistics: bool

    @property
    def label(self) -> str:
        """What a person calls it."""
        return f"TOAST of {self.name}" if self.is_toast else self.name

    @property
    def rows(self) -> float | None:
        """How many rows are alive; None if nobody knows.

        Counters know it best, if a vacuum or an ANALYZE gave them a beginning, and unless they miss what a session has
        not told yet: whatever was deleted since is among the dead.
        """
        begun = bool(self.vacuumed_at or self.analyzed_at)
        if begun and self.live_rows + self.dead_rows >= _LEAST_COUNTED * self.reltuples:
            return self.live_rows
        return self.reltuples if self.reltuples >= 0 else None


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table or an index; `width` and `nulls` are None where no statistics are to be seen."""

    relation: int
    length: int
    alignment: int
    width: int | None
    nulls: float | None


@dataclass(frozen=True, slots=True)
class Measured:
    """What pgstattuple_approx says of a table, or pgstatindex of a btree."""

    bytes: int
    dead_bytes: float
    free_bytes: float


@dataclass(frozen=True, slots=True)
class Index:
    """An index.

    Attributes:
        oid: Of it,
        table_oid: and of its table.
        table_name: With its schema,
        name: likewise.
        method: btree, gin and so on.
        root: The index of the partitioned table that it belongs to; itself without one.
        is_attached: Whether it belongs to another index,
        is_partitioned: or others belong to it, and it holds nothing itself.
        bytes: Its size; None while somebody has it to themselves.
        pages: Blocks when it was last vacuumed or analyzed.
        rows: Entries, likewise.
        fillfactor: Percent of a block that building it fills.
        scans: Since the counters began.
        keys: Each key column with operator class, collation and order.
        key_columns: Numbers of those that are columns of the table.
        included: Numbers of those that are stored only.
        predicate: Of a partial one.
        is_unique: And how:
        nulls_distinct: NULLs do not equal each other.
        is_immediate: Not put off until the commit.
        is_primary: What rests on it: the primary key,
        unique_constraint: the unique constraint of this name,
        is_exclusion: an exclusion,
        is_referenced: foreign keys of others,
        is_identity: what logical replication knows rows by,
        serves_foreign_key: the deletion of what this table refers to.
        is_valid: Whether queries may use it.
        made_at: When, or for one from before, since when the server has kept times of commits; None unless it does.
    """

    oid: int
    table_oid: int
    table_name: str
    name: str
    method: str
    root: int
    is_attached: bool
    is_partitioned: bool
    bytes: int | None
    pages: int
    rows: float
    fillfactor: int
    scans: int
    keys: Sequence[str]
    key_columns: Sequence[int]
    included: Sequence[int]
    predicate: str | None
    is_unique: bool
    nulls_distinct: bool
    is_immediate: bool
    is_primary: bool
    unique_constraint: str | None
    is_exclusion: bool
    is_referenced: bool
    is_identity: bool
    serves_foreign_key: bool
    is_valid: bool
    made_at: datetime | None


@dataclass(frozen=True, slots=True)
class Parent:
    """A partitioned table, and what lies in its partitions."""

    name: str
    is_analyzed: bool
    rows: int


@dataclass(frozen=True, slots=True)
class Number:
    """A sequence of numbers.

    Attributes:
        name: With its schema.
        is_visible: Whether this role may see how far it is.
        last: The newest number; None if there was none.
        increment: From one to the next.
        minimum: Of the sequence,
        maximum: likewise.
        cycles: Whether it begins again at its end.
        column_name: The narrowest column that is filled from it; None without one.
        column_type: Of that,
        column_most: and the largest number that it holds; None where that is no question.
        inserted: Rows that were inserted where it fills a column, since the counters began.
    """

    name: str
    is_visible: bool
    last: int | None
    increment: int
    minimum: int
    maximum: int
    cycles: bool
    column_name: str | None
    column_type: str | None
    column_most: int | None
    inserted: int


@dataclass(frozen=True, slots=True)
class Holder:
    """Whoever keeps vacuums from removing what died since.

    Attributes:
        kind: session, standby, slot or prepared transaction.
        name: Which.
        since: When it began; None if nobody knows, or this role may not.
        transactions: That have begun since.
        catalogue_only: Whether only rows of the system's own tables are kept.
    """

    kind: str
    name: str
    since: datetime | None
    transactions: int
    catalogue_only: bool


@dataclass(frozen=True, slots=True)
class Vacuum:
    """A vacuum at work; all but its process is None for whoever does not see all."""

    pid: int
    table_oid: int | None
    phase: str | None
    since: datetime | None
    is_automatic: bool | None
    blocks: int | None
    scanned: int | None


@dataclass(frozen=True, slots=True)
class Readings:
    """All that was read, one after the other."""

    circumstances: Circumstances
    tables: Sequence[Table]
    parents: Sequence[Parent]
    indexes: Sequence[Index]
    sequences: Sequence[Number]
    holders: Sequence[Holder]
    vacuums: Sequence[Vacuum]
    columns: Mapping[int, Sequence[Column]]
    measured: Mapping[int, Measured]


def read(connection: Connection, least_bytes: int) -> Readings:
    """Ask for everything; nothing is changed, and nobody waits.

    Args:
        connection: Of the role for upkeep, in autocommit.
        least_bytes: Tables and indexes that are smaller are not asked about bloat.

    Raises:
        RefusedError: The server is a standby.
    """
    connection.execute(f"SET lock_timeout = '{_LOCK_SECONDS}s'; SET TimeZone = 'UTC'".encode())
    (circumstances,) = _ask(connection, Circumstances, "circumstances")
    if circumstances.is_standby:
        raise RefusedError("OPS_UPKEEP_DSN names a standby, which knows nothing of dead rows: name the primary.")
    tables, indexes = _ask(connection, Table, "tables"), _dated(connection, _ask(connection, Index, "indexes"))
    large = [each for each in tables if _size(each, circumstances) >= least_bytes]
    btrees = [each for each in indexes if each.method == "btree" and _size(each, circumstances) >= least_bytes]
    columns: dict[int, list[Column]] = {}
    for column in _ask(connection, Column, "columns", {"relations": [*map(_oid, large), *map(_oid, btrees)]}):
        columns.setdefault(column.relation, []).append(column)
    return Readings(
        circumstances,
        tables,
        _ask(connection, Parent, "parents"),
        indexes,
        _ask(connection, Number, "sequences"),
        _ask(connection, Holder, "holders"),
        _ask(connection, Vacuum, "vacuums"),
        columns,
        _measure(connection, circumstances, [*large, *btrees]),
    )


def _size(each: Table | Index, circumstances: Circumstances) -> int:
    return each.pages * circumstances.block_bytes if each.bytes is None else each.bytes


def _oid(each: Table | Index) -> int:
    return each.oid


def _ask[Row](
    connection: Connection, row: type[Row], name: str, values: Mapping[str, object] | None = None
) -> list[Row]:
    query = files(__package__).joinpath(f"{name}.sql").read_bytes()
    with connection.cursor(row_factory=class_row(row)) as cursor:
        return cursor.execute(query, values).fetchall()


def _dated(connection: Connection, indexes: list[Index]) -> list[Index]:
    """One without a time is from before the first that is kept. Changed later, one seems younger, and never older."""
    if not (connection.execute(_KEEPS_TIMES).fetchone() or (False,))[0]:
        return indexes
    (first,) = connection.execute(_FIRST_TIME).fetchone() or (None,)
    return [replace(each, made_at=each.made_at or first) for each in indexes]


def _measure(
    connection: Connection, circumstances: Circumstances, relations: Iterable[Table | Index]
) -> dict[int, Measured]:
    """Of as many relations as there is time for, tables first and the largest first; the others are estimated."""
    schema, found = circumstances.pgstattuple, dict[int, Measured]()
    if schema is None:
        return found
    queries = {
        Table: _MEASURE_TABLE.format(schema=schema).encode(),
        Index: _MEASURE_BTREE.format(schema=schema).encode(),
    }
    (before,) = connection.execute("SHOW statement_timeout").fetchone() or ("0",)
    end = time.monotonic() + _MEASURING_SECONDS
    try:
        for each in sorted(relations, key=lambda one: (isinstance(one, Index), -(one.bytes or 0))):
            left = end - time.monotonic()
            if left <= 0:
                break
            if each.bytes is None or (isinstance(each, Table) and not each.is_heap):
                continue
            connection.execute("SELECT set_config('statement_timeout', %s, false)", [f"{left * 1000:.0f}ms"])
            try:
                values = {"relation": each.oid, "block": circumstances.block_bytes}
                row = connection.execute(queries[type(each)], values).fetchone()
            except (errors.QueryCanceled, errors.LockNotAvailable, errors.UndefinedTable):
                continue
            if row is not None:
                found[each.oid] = Measured(*row)
    finally:
        if not connection.broken:
            connection.execute("SELECT set_config('statement_timeout', %s, false)", [before])
    return found
