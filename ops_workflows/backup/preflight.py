"""Whether a base backup can be taken, found out before anything is begun. Facts are asked, then judged."""

from dataclasses import dataclass
from importlib.resources import files

from psycopg.rows import class_row

from ops_workflows.errors import RefusedError
from ops_workflows.postgres.connection import Connection

_FACTS = files(__package__).joinpath("preflight.sql").read_text().encode()
_OLDEST = 15  # BASE_BACKUP's present options and message kinds came with it


@dataclass(frozen=True, slots=True)
class Facts:
    """What the server says of itself and of the role that asks."""

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


def ask(connection: Connection) -> Facts:
    """The facts about the server that is connected to."""
    with connection.cursor(row_factory=class_row(Facts)) as cursor:
        facts = cursor.execute(_FACTS).fetchone()
    if facts is None:
        raise RefusedError("PostgreSQL said nothing of itself.")
    return facts


def refusals(facts: Facts) -> list[str]:
    """Why no base backup can be taken: one sentence each, with what to do. Empty when it can."""
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
