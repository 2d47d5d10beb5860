"""Rows of the application's cache, and settings under which nothing but what a test is about holds pruning up."""

from psycopg import sql
from pydantic import SecretStr

from ops_workflows.postgres.connection import connect
from ops_workflows.settings import Settings
from tests.support.schema import Database, rows

FILL = """
    insert into panchangam_cache (cache_key, date, latitude, longitude, timezone, data, created_at, expires_at)
    select {kind} || n, date '2000-01-01' + n, {latitude}, 0, 'UTC',
        jsonb_build_object('n', n, 'pad', repeat('x', 200)), {created}, {expires}
    from generate_series(1, {count}) as n"""


def unhindered(settings: Settings, database: Database) -> Settings:
    """Pruning that nothing holds up, on a table with neither rows nor dead ones."""
    with connect(database.owner) as connection:
        connection.execute("truncate panchangam_cache")
    return unlimited(settings, database.upkeep)


def unlimited(settings: Settings, upkeep: str) -> Settings:
    """Pruning that nothing holds up."""
    changed = {
        "upkeep_dsn": SecretStr(upkeep),
        "redis_url": None,
        "prune_most_canary_ms": 5_000.0,
        "prune_most_lag_seconds": 1e6,
        "prune_most_lag_bytes": 2**40,
        "prune_most_slot_bytes": 2**40,
        "prune_most_seconds": 60.0,
    }
    return settings.model_copy(update=changed)


def fill(
    database: Database,
    kind: str,
    count: int,
    expires: str,
    latitude: int = 1,
    *,
    created: str = "now() - interval '100 days'",
) -> None:
    """Rows whose keys begin with `kind`; of one latitude there can be one kind. Moments are SQL, of the row `n`."""
    values = {"latitude": sql.Literal(latitude), "count": sql.Literal(count), "kind": sql.Literal(kind)}
    moments = {"expires": sql.SQL(expires), "created": sql.SQL(created)}  # type: ignore[arg-type] # no literals
    with connect(database.owner) as connection:
        connection.execute(sql.SQL(FILL).format(**moments, **values))


def expired(database: Database, count: int) -> None:
    """Rows that have expired, the last the longest ago."""
    fill(database, "expired:", count, "now() - n * interval '1 second'")


def alive(database: Database, count: int) -> None:
    """Rows that somebody may still read."""
    fill(database, "alive:", count, "now() + interval '1 day'", latitude=2)


def left(database: Database) -> dict[str, int]:
    """How many rows of each kind are there."""
    query = "select split_part(cache_key, ':', 1), count(*) from panchangam_cache group by 1"
    return {str(kind): int(str(count)) for kind, count in rows(database.superuser, query)}
