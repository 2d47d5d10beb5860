"""The table of cached calculations: how large and how bloated it is, and its vacuum."""

from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files

from psycopg import errors

from ops_workflows.cache.pace import vacuum_pays
from ops_workflows.errors import ConfigurationError
from ops_workflows.postgres.connection import Connection

TABLE = "public.panchangam_cache"
_STATE = files(__package__).joinpath("table_state.sql").read_text().encode()
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
        bloat: Fraction of the table that is dead or free, by pgstattuple; None where that is not installed for us, too.
        vacuumed_at: When it was vacuumed last; None if never.
        may_vacuum: Whether our role may.
    """

    live_rows: int
    dead_rows: int
    total_bytes: int | None
    bloat: float | None
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
        size, bloat = _size(connection), _bloat(connection, pgstattuple)
    except errors.LockNotAvailable:
        size, bloat = None, None
    return TableState(live, dead, size, bloat, vacuumed_at, may_vacuum)


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


def _bloat(connection: Connection, pgstattuple: str | None) -> float | None:
    if pgstattuple is None:
        return None
    query = f"SELECT (dead_tuple_percent + approx_free_percent) / 100 FROM {pgstattuple}('{TABLE}')"  # noqa: S608 - names of ours and the catalogue's
    row = connection.execute(query.encode()).fetchone()
    return float(row[0]) if row else None
