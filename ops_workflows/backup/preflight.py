"""Whether base backups can be taken, found out before anything is begun. Facts are asked, then judged."""

from dataclasses import dataclass
from importlib.resources import files

from psycopg.rows import class_row

from ops_workflows.errors import DatabaseError, RefusedError
from ops_workflows.postgres.connection import Connection, connect
from ops_workflows.postgres.replication import ReplicationConnection
from ops_workflows.settings import Settings

_FACTS = files(__package__).joinpath("preflight.sql").read_text().encode()
_OLDEST = 15  # BASE_BACKUP's present options and message kinds came with it
_SECONDS = 20
_SAY_SO = "OPS_BACKUP_METHOD=dumps keeps Dagster from waiting for base backups and WAL."


@dataclass(frozen=True, slots=True)
class Facts:
    """What the server says of itself and of the role that asks; `service` is the managed one that it is part of."""

    server_version: int
    role: str
    may_replicate: bool
    may_read: bool
    wal_level: str
    max_wal_senders: int
    wal_senders: int
    in_recovery: bool
    data_checksums: bool
    summarize_wal: bool
    wal_segment_bytes: int
    superuser: str
    service: str | None = None


def ask(connection: Connection) -> Facts:
    """The facts about the server that is connected to."""
    with connection.cursor(row_factory=class_row(Facts)) as cursor:
        facts = cursor.execute(_FACTS).fetchone()
    if facts is None:
        raise RefusedError("PostgreSQL said nothing of itself.")
    return facts


def refusals(facts: Facts) -> list[str]:
    """Why no base backup can be taken: one sentence each, with what to do. Empty when it can."""
    if facts.service is not None and not facts.may_replicate:
        return [_dumps_only(_offers_none(facts.service))]
    found = []
    if facts.server_version < _OLDEST * 10_000:
        found.append(
            f"PostgreSQL {facts.server_version // 10_000} is too old for base backups: {_OLDEST} is the oldest."
        )
    if not facts.may_replicate:
        found.append(
            f"Role {facts.role} may not replicate: ALTER ROLE {facts.role} REPLICATION (deploy/postgres/roles.sql)."
        )
    if facts.wal_level == "minimal":
        found.append(
            "wal_level is minimal, so no base backup is possible: set wal_level = replica and restart the server."
        )
    if facts.max_wal_senders <= facts.wal_senders:
        found.append(
            f"No free WAL sender: {facts.wal_senders} of max_wal_senders = {facts.max_wal_senders} are in use. "
            "Raise max_wal_senders and restart, or end a connection in pg_stat_replication."
        )
    return found


def dumps_only(settings: Settings) -> str | None:
    """Why this database has dumps and nothing else, in a sentence; None where base backups are to be taken.

    That is so where OPS_BACKUP_METHOD says it, and on a managed service that offers no replication protocol. What is
    wrong with a server of one's own is never a reason: it is an error, and to be mended. Nor is that a server does not
    answer, or is not named, as where backups are only proved: whoever goes on and needs it will say so.

    Raises:
        ConfigurationError: OPS_BACKUP_DSN cannot be read.
    """
    if settings.backup_method != "auto":
        return _dumps_only("OPS_BACKUP_METHOD is dumps") if settings.backup_method == "dumps" else None
    if settings.backup_dsn is None:
        return None
    dsn, timeout = settings.require("backup_dsn"), settings.connect_timeout_seconds
    try:
        with connect(dsn, timeout=timeout, statement_seconds=_SECONDS, application_name="ops_workflows") as connection:
            facts = ask(connection)
    except DatabaseError:
        return None
    if facts.service is None or (facts.may_replicate and _lets_replicate(settings)):
        return None
    return f"{_dumps_only(_offers_none(facts.service))} {_SAY_SO}"


def _lets_replicate(settings: Settings) -> bool:
    """Whether the server lets the role in for the whole cluster's log; services do for single databases only."""
    dsn, timeout = settings.require("backup_dsn"), settings.connect_timeout_seconds
    try:
        with ReplicationConnection(dsn, timeout=timeout, stall_seconds=settings.stall_seconds):
            return True
    except DatabaseError:
        return False


def _offers_none(service: str) -> str:
    return f"{service} offers no replication protocol"


def _dumps_only(why: str) -> str:
    return (
        f"{why}, so there are dumps (`ops dump`) and neither base backups nor WAL: what came after the last dump "
        "cannot be had back."
    )


def warnings(facts: Facts) -> list[str]:
    """What does not stand in the way, and is worth mending."""
    found = []
    if not facts.data_checksums:
        found.append(
            "Data checksums are off: damage on the server's disk goes unnoticed into the backup (pg_checksums)."
        )
    if not facts.may_read:
        found.append(f"Role {facts.role} may not read all tables, so rows cannot be counted: GRANT pg_read_all_data.")
    return found
