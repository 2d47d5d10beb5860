"""Planting a canary: one small row, and the bucket's knowledge of when and where in the log it was committed."""

import secrets
from importlib.resources import files

from ops_workflows.errors import ConfigurationError, DatabaseError, OpsError
from ops_workflows.postgres.connection import connect
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.progress import Progress
from ops_workflows.repository.canaries import Canary, note
from ops_workflows.repository.catalogue import open_repository
from ops_workflows.settings import Settings

_SECONDS = 20
_BEFORE = "SELECT clock_timestamp(), (SELECT system_identifier::text FROM pg_control_system())"
_WHERE = files(__package__).joinpath("canary.sql").read_text().encode()


def plant(settings: Settings, system: str | None = None) -> Canary:
    """Commit a heartbeat that is a canary, and tell the bucket of it.

    Killed between the two, a heartbeat is left that nobody asks for.

    Args:
        settings: Database and bucket.
        system: The cluster that it has to be; None for whichever it is.

    Raises:
        ConfigurationError: OPS_UPKEEP_DSN or the bucket is not set, or the database is of another cluster.
        DatabaseError: It cannot be written; the text says why.
        StorageError: The bucket did not take it.
    """
    token = secrets.token_hex(8)
    with connect(
        settings.require("upkeep_dsn"),
        timeout=settings.connect_timeout_seconds,
        statement_seconds=_SECONDS,
        application_name="ops_workflows canary",
    ) as connection:
        before = connection.execute(_BEFORE).fetchone()
        if system is not None and before is not None and before[1] != system:
            raise ConfigurationError(f"OPS_UPKEEP_DSN leads to cluster {before[1]} and not to {system}: correct it.")
        connection.execute("INSERT INTO ops.heartbeat (sender) VALUES (%s)", [f"canary {token}"])
        where = connection.execute(_WHERE).fetchone()
    if before is None or where is None:
        raise DatabaseError("PostgreSQL does not say where in its log it is.")
    after, timeline, lsn = where
    canary = Canary(before[0], after, int(timeline, 16), Lsn.parse(lsn), token)
    note(open_repository(settings, before[1]), canary)
    return canary


def plant_if_possible(settings: Settings, progress: Progress) -> Canary | None:
    """The same beside other work, which does not fail with it: why it could not be done is said."""
    try:
        return plant(settings)
    except OpsError as error:
        progress.say(f"No canary was planted: {error}")
        return None
