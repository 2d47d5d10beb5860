"""What is to be dumped, and whether it can be, found out before anything is begun, with the right to connect."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from psycopg.rows import class_row

from ops_workflows.errors import DatabaseError, RefusedError
from ops_workflows.postgres.connection import Connection

_SOURCE = files(__package__).joinpath("dump_source.sql").read_text().encode()
_SETTINGS = files(__package__).joinpath("dump_settings.sql").read_text().encode()


@dataclass(frozen=True, slots=True)
class Source:
    """What the server says of itself.

    Attributes:
        server_version: Such as 180006 for 18.6.
        system: PostgreSQL's system identifier.
        in_recovery: Whether it is a standby.
        roles: Names of all roles but PostgreSQL's own.
        databases: Those that our role may connect to, templates left out.
        closed: Those that it may not.
    """

    server_version: int
    system: str
    in_recovery: bool
    roles: list[str]
    databases: list[str]
    closed: list[str]


def ask(connection: Connection) -> Source:
    """The facts about the server that is connected to."""
    with connection.cursor(row_factory=class_row(Source)) as cursor:
        source = cursor.execute(_SOURCE).fetchone()
    if source is None:
        raise DatabaseError("PostgreSQL said nothing of itself.")
    return source


def choose(source: Source, only: Sequence[str]) -> list[str]:
    """The databases to dump: all that can be, or only those that are named.

    Raises:
        RefusedError: One that is named is not there, or may not be connected to.
    """
    for name in only:
        if name in source.closed:
            raise RefusedError(f"Our role may not connect to database {name}: GRANT CONNECT ON DATABASE.")
        if name not in source.databases:
            raise RefusedError(f"There is no database {name} on the server, but {', '.join(source.databases)}.")
    return [name for name in source.databases if name in only or not only]


def settings_of(connection: Connection) -> str:
    """Non-default parameters, databases, and what is set per database and role, as a JSON document."""
    row = connection.execute(_SETTINGS).fetchone()
    return str(row[0]) if row else "{}"
