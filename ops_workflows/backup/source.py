"""Which server a backup is read from: the standby, where there is one and it keeps up; otherwise the primary."""

from dataclasses import dataclass

from ops_workflows.errors import DatabaseError
from ops_workflows.postgres.connection import Connection, connect
from ops_workflows.progress import Progress
from ops_workflows.settings import Settings

_STANDBY = """
    SELECT pg_is_in_recovery(), (SELECT system_identifier::text FROM pg_control_system()),
        CASE WHEN pg_last_wal_receive_lsn() IS NOT DISTINCT FROM pg_last_wal_replay_lsn()
                AND EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming') THEN 0
            ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END::float"""
_PRIMARY = "SELECT system_identifier::text FROM pg_control_system()"


@dataclass(frozen=True, slots=True)
class Source:
    """A server to read a backup from."""

    dsn: str
    is_standby: bool


def choose_source(settings: Settings, primary: Connection, progress: Progress) -> Source:
    """The standby that the settings name if it follows this primary closely enough, else the primary.

    Args:
        settings: Both servers, and how far behind the standby may be.
        primary: A connection to the primary.
        progress: Hears why a standby was not used.
    """
    ours = Source(settings.require("backup_dsn"), is_standby=False)
    if settings.standby_dsn is None:
        return ours
    dsn = settings.standby_dsn.get_secret_value()
    if refusal := _why_not(settings, dsn, primary):
        progress.say(f"The backup is read from the primary, for the standby {refusal}.")
        return ours
    return Source(dsn, is_standby=True)


def _why_not(settings: Settings, dsn: str, primary: Connection) -> str | None:
    here = primary.execute(_PRIMARY).fetchone()
    try:
        with connect(dsn, timeout=settings.connect_timeout_seconds, statement_seconds=10) as connection:
            row = connection.execute(_STANDBY).fetchone()
    except DatabaseError as error:
        return f"does not answer: {str(error).rstrip('.')}"
    if row is None or here is None:
        return "says nothing of itself"
    in_recovery, system, lag = row
    if not in_recovery:
        return "is none: it is not in recovery"
    if system != here[0]:
        return "belongs to another cluster"
    if lag is None or lag > settings.standby_most_lag_seconds:
        return f"is {lag:.0f} s behind" if lag is not None else "has not replayed anything yet"
    return None
