"""The table of cached calculations: how large and how bloated it is, and its vacuum."""

from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files

from psycopg import errors

from ops_workflows.cache.pace import vacuum_pays
from ops_workflows.errors import ConfigurationError
from ops_workflows.postgres.connection import Connection

GRACE_DAYS = 1  # that an expired row may still be there: the nightly run has been over it once
TABLE = "public.panchangam_cache"
_HERE = files(__package__)
_STATE, _BLOAT, _LEAN = (
    _HERE.joinpath(f"{name}.sql").read_text().encode() for name in ("table_state", "bloat", "lean")
)
_MEASURE = b"SET LOCAL statement_timeout = '10s'"
# Without truncation, which would lock everybody out for a moment, on the standbys too.
_VACUUM = b"VACUUM (SKIP_LOCKED, TRUNCATE false, ANALYZE) public.panchangam_cache"
_FLUSH_SINCE = 150_000


@dataclass(frozen=True, slots=True)
class TableState:
    """What the table holds.

    Attributes:
        live_rows: As the server's statistics know them.
        dead_rows: Likewise; what a vacuum would clean up.
        total_bytes: With indexes and values stored out of line; None while somebody has the table to themselves.
        bloat: Fraction of the table that is dead or free; None if unknown.
        bloat_measured: Whether pgstattuple has measured it; else it is estimated from what the last ANALYZE found.
        vacuumed_at: When it was vacuumed last; None if never.
        may_vacuum: Whether our role may.
    """

    live_rows: int
    dead_rows: int
    total_bytes: int | None
    bloat: float | None
    bloat_measured: bool
    vacuumed_at: datetime | None
    may_vacuum: bool


def table_state(connection: Connection) -> TableState:
    """What the table holds now.

    Raises:
        ConfigurationError: The database has no such table.
    """
    if connection.info.server_version >= _FLUSH_SINCE:
        # What this session has deleted counts at once, and not only when it has been idle for a second.
        connection.execute("SELECT pg_stat_force_next_flush()")
    row = connection.execute(_STATE).fetchone()
    if row is None:
        raise ConfigurationError(
            f"Database {connection.info.dbname} has no table {TABLE}: migrate it (`ops migrate up`), "
            "or correct OPS_UPKEEP_DSN."
        )
    live, dead, vacuumed_at, may_vacuum, pgstattuple = row
    try:
        size, bloat = _size(connection), _measured(connection, pgstattuple)
        measured = bloat is not None
        bloat = bloat if measured else _estimated(connection)
    except errors.LockNotAvailable:
        size, bloat, measured = None, None, False
    return TableState(live, dead, size, bloat, measured, vacuumed_at, may_vacuum)


@dataclass(frozen=True, slots=True)
class Left:
    """Rows that pruning leaves behind and somebody should know of, by the server's clock.

    Attributes:
        expired: Rows that expired long ago.
        first: When the first of them did, UTC; empty without one.
        far: Rows that expire, but implausibly late.
        last: When the last of them does.
    """

    expired: int
    first: str
    far: int
    last: str


def what_is_left(connection: Connection, far_days: float) -> Left | None:
    """Count what should not be there; None while somebody has the table to themselves.

    Args:
        connection: To a database with the table, with a lock_timeout.
        far_days: After which no row should expire.
    """
    try:
        row = connection.execute(_LEAN, {"grace_days": GRACE_DAYS, "far_days": far_days}).fetchone()
    except errors.LockNotAvailable:
        return None
    if row is None:
        raise AssertionError("the query has one row whatever the table holds")
    return Left(*row)


def vacuum_if_it_pays(connection: Connection, fraction: float, seconds: int) -> str:
    """Vacuum the table if enough of it is dead.

    Args:
        connection: In autocommit.
        fraction: Of its rows that have to be dead.
        seconds: Longest that it may take.

    Returns:
        What was done, or why nothing, as a clause.
    """
    state = table_state(connection)
    if not vacuum_pays(state.dead_rows, state.live_rows, fraction=fraction):
        return f"not vacuumed: {state.dead_rows:,} dead rows beside {state.live_rows:,} are not worth it"
    if not state.may_vacuum:
        return "left to autovacuum: this role may not vacuum the table (MAINTAIN, of PostgreSQL 17 and newer)"
    connection.execute("SELECT set_config('statement_timeout', %s, false)", [f"{seconds}s"])
    try:
        connection.execute(_VACUUM)
    except errors.QueryCanceled:
        return f"left to autovacuum: ours took longer than {seconds} s and was broken off"
    left = table_state(connection).dead_rows
    if left >= state.dead_rows:
        return f"vacuumed, and {left:,} dead rows stay: an old transaction may still see them, or the table is locked"
    return f"vacuumed: {state.dead_rows:,} dead rows became {left:,}"


def _size(connection: Connection) -> int | None:
    row = connection.execute("SELECT pg_total_relation_size(%s::regclass)", [TABLE]).fetchone()
    return int(row[0]) if row else None


def _measured(connection: Connection, pgstattuple: str | None) -> float | None:
    if pgstattuple is None:
        return None
    query = f"SELECT (dead_tuple_percent + approx_free_percent) / 100 FROM {pgstattuple}('{TABLE}')"  # noqa: S608 - names of ours and the catalogue's
    try:
        with connection.transaction():
            connection.execute(_MEASURE)
            row = connection.execute(query.encode()).fetchone()
    except errors.QueryCanceled:  # it reads all pages that were not vacuumed lately, and these are too many
        return None
    return float(row[0]) if row else None


def _estimated(connection: Connection) -> float | None:
    row = connection.execute(_BLOAT).fetchone()
    return float(row[0]) if row and row[0] is not None else None
