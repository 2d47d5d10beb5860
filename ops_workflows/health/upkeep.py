"""What this project keeps in the database: the version of the schema, and the statistics of the query log."""

from collections.abc import Iterator
from datetime import UTC
from functools import partial
from importlib.resources import files

from psycopg import sql

from ops_workflows.health.probe import Budget, Probe, Seen
from ops_workflows.health.reading import Check, Reading, Severity, Threshold, critical, ok, unknown, warning
from ops_workflows.health.session import hurried
from ops_workflows.postgres.connection import Connection, describe

_LEDGERS = (("public", "schema_migrations"), ("ops", "schema_migrations"))
_ROLLUP = files(__package__).joinpath("stale_rollup.sql").read_text().encode()
_THERE = "SELECT bool_and(to_regclass(name) IS NOT NULL) FROM unnest(%s::text[]) AS name"
_LOCKED = (
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid <> pg_backend_pid() "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def upkeep(dsn: str, threshold: Threshold) -> Probe:
    """The probe, for the role for upkeep; hours that a period of the log may wait for its statistics."""
    look = partial(_look, dsn, threshold)
    return Probe("upkeep", describe(dsn), [Check.DIRTY_MIGRATION, Check.STALE_ROLLUP], look)


def _look(dsn: str, threshold: Threshold, budget: Budget) -> Iterator[Seen]:
    with hurried(dsn, budget) as connection:
        yield _migration(connection)
        yield _rollup(connection, threshold)


def _migration(connection: Connection) -> Reading:
    check = Check.DIRTY_MIGRATION
    there = [each for each in _LEDGERS if _is_there(connection, ".".join(each))]
    if not there:
        return unknown(check, "Nothing records a version of the schema: run `ops migrate up`.")
    versions = {schema: _version(connection, schema, table) for schema, table in there}
    dirty = [f"{schema} at {version}" for schema, (version, is_dirty) in versions.items() if is_dirty]
    if not dirty:
        return ok(check, ", ".join(f"{schema} is at {version}" for schema, (version, _) in versions.items()) + ".", 0)
    said = f"A migration of {' and '.join(dirty)} has not come to its end"
    do = "see `ops migrate status`; it says what is done of it, and how to go on"
    held = connection.execute(_LOCKED).fetchone()
    if held is not None and held[0]:  # as golang-migrate and this project do while they migrate
        return warning(check, f"{said}, and may still be under way.", do, len(dirty))
    return critical(check, f"{said}, and none is under way.", do, len(dirty))


def _version(connection: Connection, schema: str, table: str) -> tuple[int, bool]:
    query = sql.SQL("SELECT version, dirty FROM {} ORDER BY dirty DESC LIMIT 1").format(sql.Identifier(schema, table))
    row = connection.execute(query).fetchone()
    return (row[0], row[1]) if row else (0, False)


def _rollup(connection: Connection, threshold: Threshold) -> Reading:
    check = Check.STALE_ROLLUP
    if not _is_there(connection, "public.query_log", "ops.query_stats_periods"):
        return unknown(check, "The query log, or its statistics, are not there: run `ops migrate up`.")
    hours = [threshold.warning, threshold.critical]
    row = connection.execute(_ROLLUP, {"hours": hours}).fetchone()
    until, age, waits = row if row else (None, None, None)
    if waits is None:
        return Reading(check, Severity.OK, "No hour of the query log waits for its statistics.", 0, "h", threshold)
    since = f"since {until.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if until else "at all"
    said = f"Hours of the query log wait for their statistics, longer than {waits:g} h; there are none {since}."
    do = "see why `rollup_query_analytics` does not run"
    return Reading(check, threshold.judge(waits), f"{said} To do: {do}.", age and round(age, 2), "h", threshold)


def _is_there(connection: Connection, *tables: str) -> bool:
    return connection.execute(_THERE, [list(tables)]).fetchone() == (True,)
