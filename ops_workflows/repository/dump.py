"""What is recorded of a logical dump: `dump.json`, its last object, and `fingerprint.json`, what every table held."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ops_workflows.errors import IntegrityError, RefusedError
from ops_workflows.postgres.fingerprint import Content, Table
from ops_workflows.repository.backup import StoredArchive
from ops_workflows.storage.encryption import SUFFIX

_MOST_HINTS = 5
_QUOTED = re.compile(r'"((?:[^"]|"")*)"')


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class DumpedDatabase(_Record):
    """One database of a dump."""

    name: str
    object: str = Field(description="Name of its object, pg_dump's custom format.")
    snapshot: str = Field(description="The state that was dumped, as a pg_snapshot.")
    taken_at: datetime = Field(description="When that state was.")
    encoding: str = Field(description="PostgreSQL's name of it, such as UTF8.")
    database_bytes: int = Field(description="Its size on the server.")
    tables: int = Field(description="That have rows of their own; partitions each for itself.")
    rows: int = Field(description="Of all of them, exactly.")


class Dump(_Record):
    """One whole dump. It exists because this record does; it was written when everything else was acknowledged."""

    format: Literal[1] = 1
    id: str
    system: str = Field(description="PostgreSQL's system identifier.")
    started_at: datetime
    finished_at: datetime
    server_version: int = Field(description="Such as 180006 for 18.6.")
    programs_major: int = Field(description="Major version of pg_dump: pg_restore must not be older.")
    databases: tuple[DumpedDatabase, ...]
    left_out: tuple[str, ...] = Field(
        (), description="Databases that were not asked for, or that the role may not connect to."
    )
    roles: tuple[str, ...] = Field((), description="Names of the cluster's roles, which definitions may mention.")
    recipients: tuple[str, ...] = Field((), description="Public keys that all but this record is encrypted to.")
    objects: tuple[StoredArchive, ...]

    @property
    def stored_bytes(self) -> int:
        """Bytes in the bucket."""
        return sum(stored.size for stored in self.objects)

    @property
    def database_bytes(self) -> int:
        """Bytes of the databases on the server."""
        return sum(database.database_bytes for database in self.databases)

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(database.rows for database in self.databases)

    @property
    def tables(self) -> int:
        """Tables of all databases."""
        return sum(database.tables for database in self.databases)

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.finished_at - self.started_at).total_seconds()

    def has(self, database: str) -> bool:
        """Whether that database is in it."""
        return any(dumped.name == database for dumped in self.databases)

    def database(self, name: str) -> DumpedDatabase:
        """One of its databases.

        Raises:
            RefusedError: It is not in it.
        """
        for dumped in self.databases:
            if dumped.name == name:
                return dumped
        known = ", ".join(dumped.name for dumped in self.databases)
        raise RefusedError(f"Dump {self.id} has no database {name}, but {known}: choose another, see `ops dumps`.")

    def object(self, name: str) -> StoredArchive:
        """One of its objects by name; the ending that encryption adds may be left out.

        Raises:
            IntegrityError: It has none of that name.
        """
        for stored in self.objects:
            if stored.name in {name, f"{name}{SUFFIX}"}:
                return stored
        raise IntegrityError(f"Dump {self.id} has no object {name}.")


class DumpedTable(_Record):
    """What a table held at the moment of the dump."""

    table: Table
    content: Content


class Fingerprint(_Record):
    """What every table of a dump held, database by database, in the very snapshot that was dumped."""

    databases: dict[str, tuple[DumpedTable, ...]]

    def find(self, database: str, wanted: str) -> "FoundTable":
        """The table of that name; of a partitioned one, what its partitions held together.

        Args:
            database: Name of its database.
            wanted: `schema.table`, as it is or quoted as SQL wants it.

        Raises:
            RefusedError: There was none, or the name fits several.
        """
        found: dict[str, list[DumpedTable]] = {}
        for held in self.databases.get(database, ()):
            for name in (held.table.quoted, *held.table.partition_of):
                if wanted in {name, _plain(name)}:
                    found.setdefault(name, []).append(held)
        if len(found) > 1:
            raise RefusedError(f"{wanted} could be several tables: write {' or '.join(found)}.")
        for name, parts in found.items():
            return FoundTable(name, tuple(parts))
        known = [held.table.quoted for held in self.databases.get(database, ())]
        near = [name for name in known if wanted.rpartition(".")[2] in name][:_MOST_HINTS]
        hint = f"is it {' or '.join(near)}?" if near else "write schema.table."
        raise RefusedError(f"Database {database} had no table {wanted} with rows of its own then: {hint}")


@dataclass(frozen=True, slots=True)
class FoundTable:
    """A table of a dump, whole.

    Attributes:
        quoted: `schema.table`, quoted where SQL wants it.
        parts: Itself, or the partitions that held its rows.
    """

    quoted: str
    parts: tuple[DumpedTable, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Those that were hashed, in order."""
        return self.parts[0].table.columns

    @property
    def content(self) -> Content:
        """What it held."""
        return Content.together(part.content for part in self.parts)

    @property
    def oids(self) -> frozenset[int]:
        """Of the tables that held its rows."""
        return frozenset(part.table.oid for part in self.parts)

    @property
    def plain(self) -> str:
        """Its schema and name as they are, with a point between them."""
        return _plain(self.quoted)


def _plain(quoted: str) -> str:
    return _QUOTED.sub(lambda part: part[1].replace('""', '"'), quoted)
