"""Ordinary SQL connections: with timeouts, named, and with errors that say who, where, and what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors, sql
from psycopg.abc import RV, PQGen
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow

from ops_workflows.errors import ConfigurationError, DatabaseError

Connection = psycopg.Connection[TupleRow]
_MOST_GRACE_SECONDS = 10  # for a server to say itself that a statement has taken too long

_ADVICE = (
    # what the server or libpq says (untranslated) -> what to do about it
    ("password authentication failed", "correct the password in the passfile or the DSN"),
    ("no password supplied", "name a passfile in the DSN, or put the password into it"),
    ("Connection refused", "start the server, or correct host and port in the DSN"),
    ("No such file or directory", "start the server, or correct the socket folder in the DSN"),
    ("could not translate host name", "correct the host in the DSN"),
    ("timeout expired", "see whether a firewall or a stopped server is in the way"),
    (
        "permission denied to start WAL sender",
        "run ALTER ROLE … REPLICATION for that role, as deploy/postgres/roles.sql does",
    ),
    (
        "must be superuser or replication role",
        "run ALTER ROLE … REPLICATION for that role, as deploy/postgres/roles.sql does",
    ),
    ("requested standby connections exceeds", "raise max_wal_senders, or end a connection in pg_stat_replication"),
    ("no pg_hba.conf entry", "allow this role and address in pg_hba.conf (database `replication` for backups)"),
    ("does not exist", "create it, or correct the DSN"),
    ("starting up", "wait until the server has recovered"),
    ("shutting down", "start the server again"),
    ("too many clients", "raise max_connections, or end idle sessions"),
)


class _Patient(Connection):
    """A connection that gives a silent server up: one that is stopped still acknowledges packets, for ever."""

    longest_seconds: float | None = None

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Do as psycopg does, for so long at most.

        Raises:
            psycopg.OperationalError: It took longer.
        """
        try:
            return super().wait(gen, interval, self.longest_seconds if timeout is None else timeout)
        except errors._WaitTimeout:  # noqa: SLF001 - psycopg has no public name for it
            self.close()
            raise psycopg.OperationalError(f"the server has been silent for {self.longest_seconds:.0f} s") from None


def conninfo(dsn: str, *, timeout: int, **more: str | int) -> str:
    """A DSN with this project's bounds: connecting is limited in time, and a peer that vanishes is noticed.

    Args:
        dsn: libpq URL or key/value string.
        timeout: Seconds to connect in.
        more: Further libpq parameters; they win over the DSN's.

    Raises:
        ConfigurationError: libpq cannot read the DSN. The text does not repeat it, for it may hold a password.
    """
    bounds: dict[str, str | int] = {
        "connect_timeout": timeout,
        "keepalives_idle": 15,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 60_000,
        "application_name": "ops_workflows",
    }
    try:
        return make_conninfo(dsn, **(bounds | more))
    except psycopg.ProgrammingError:
        raise ConfigurationError(
            "A database URL cannot be read: write postgresql://ROLE@HOST:PORT/DATABASE?passfile=FILE."
        ) from None


def describe(dsn: str) -> str:
    """Who and where a DSN means, without its password."""
    part = conninfo_to_dict(dsn)
    return f"{part.get('user', 'the current user')} at {part.get('host', 'localhost')}:{part.get('port', 5432)}"


def endpoints(dsn: str) -> list[tuple[str, int]]:
    """Host and port of each server that a DSN names; a host that begins with a slash is a folder of sockets.

    Raises:
        ConfigurationError: A port is no number.
    """
    part = conninfo_to_dict(dsn)
    hosts = str(part.get("hostaddr") or part.get("host") or "localhost").split(",")
    ports = str(part.get("port") or 5432).split(",")
    if not all(port.isdecimal() for port in ports):
        raise ConfigurationError("A database URL names a port that is no number: correct it.")
    return [(host, int(ports[number % len(ports)])) for number, host in enumerate(hosts)]


def cannot_connect(dsn: str, said: str) -> DatabaseError:
    """The sentence for a connection that did not come about."""
    # libpq's own advice, a question, is dropped: ours follows.
    reason = " ".join(said.split()).removeprefix("connection failed: ").partition(" Is the server running ")[0]
    advice = next((advice for sign, advice in _ADVICE if sign in reason), "see the server's log")
    return DatabaseError(f"Cannot connect to PostgreSQL as {describe(dsn)}: {reason.rstrip('.')}. To do: {advice}.")


def _grace(statement_seconds: int) -> int:
    return max(1, min(_MOST_GRACE_SECONDS, statement_seconds // 3))


@contextmanager
def connect(dsn: str, *, timeout: int = 10, statement_seconds: int = 120, **more: str | int) -> Iterator[Connection]:
    """An autocommit connection for the length of a `with`.

    Args:
        dsn: libpq URL or key/value string.
        timeout: Seconds to connect in.
        statement_seconds: Longest that one statement may take; 0 for no bound.
        more: Further libpq parameters.

    Raises:
        DatabaseError: It cannot be had, or broke, or a statement failed. The text is PostgreSQL's own, and complete.
    """
    text = conninfo(dsn, timeout=timeout, **more)
    try:
        connection = _Patient.connect(text, autocommit=True)
    except psycopg.Error as error:
        raise cannot_connect(text, str(error)) from None
    try:
        with connection:
            connection.longest_seconds = statement_seconds + _grace(statement_seconds) if statement_seconds else None
            limit = sql.SQL("SET statement_timeout = {}").format(sql.Literal(f"{statement_seconds}s"))
            connection.execute(limit)
            # A role's or a database's own style would be one that the client does not read.
            if not (connection.info.parameter_status("DateStyle") or "").startswith("ISO"):
                connection.execute("SET datestyle = 'ISO, YMD'")
            yield connection
    except psycopg.Error as error:
        said = " ".join(str(error).split()).rstrip(".")
        raise DatabaseError(f"PostgreSQL at {describe(text)} failed: {said}.") from error
