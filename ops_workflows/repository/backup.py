"""What is recorded of a backup: `backup.json`, its last object, and `rows.json`, what its restore must hold."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from ops_workflows.errors import DatabaseError, IntegrityError
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.storage.codec import Codec
from ops_workflows.storage.encryption import SUFFIX

FORMAT = 1


def _lsn(text: str) -> Lsn:
    try:
        return Lsn.parse(text)
    except DatabaseError as error:
        raise ValueError(str(error)) from None  # so that it counts as a fault of the record that it stands in


LsnField = Annotated[
    Lsn,
    BeforeValidator(lambda value: _lsn(value) if isinstance(value, str) else value),
    PlainSerializer(str, return_type=str),
]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", arbitrary_types_allowed=True)


class StoredArchive(_Record):
    """One object of a backup, as the bucket acknowledged it."""

    name: str = Field(description="Its key's last part.")
    size: int = Field(description="Bytes.")
    sha256: str = Field(description="Of all its bytes, hex.")
    etag: str = Field(description="The bucket's version tag.")
    checksum: str = Field(description="The bucket's own SHA-256 (base64; composite with -N for N parts).")


class TablespaceRecord(_Record):
    """A tablespace besides the data directory; its archive is `<oid>.tar.<codec>`, and `.age` if encrypted."""

    oid: int
    location: str


class Backup(_Record):
    """One whole backup. It exists because this record does; it was written when everything else was acknowledged."""

    format: Literal[1] = 1
    id: str
    system: str = Field(description="PostgreSQL's system identifier.")
    parent: str | None = Field(None, description="The backup that this one is incremental to; None for a full one.")
    timeline: int
    start_lsn: LsnField
    stop_lsn: LsnField
    started_at: datetime
    finished_at: datetime
    server_version: int = Field(description="Such as 180006 for 18.6.")
    superuser: str = Field(description="Name of the bootstrap superuser, as whom a restored server is asked.")
    from_standby: bool = Field(False, description="Whether a standby was read: its last WAL segment may be unfinished.")
    wal_segment_bytes: int
    data_checksums: bool
    codec: Codec
    compressed_by: Literal["server", "client"]
    encrypted: bool = Field(False, description="Whether the archives are encrypted, in the age format.")
    recipients: tuple[str, ...] = Field((), description="The public keys that they are encrypted to.")
    database_bytes: int = Field(description="Bytes of the whole database's files.")
    archived_bytes: int = Field(0, description="Bytes in the archives, before compression: fewer if incremental.")
    tablespaces: tuple[TablespaceRecord, ...] = ()
    objects: tuple[StoredArchive, ...]

    @property
    def major(self) -> int:
        """The server's major version: a restore needs programs of the same."""
        return self.server_version // 10_000

    @property
    def stored_bytes(self) -> int:
        """Bytes in the bucket."""
        return sum(stored.size for stored in self.objects)

    @property
    def stored_as(self) -> str:
        """What was done to its archives, for a person."""
        keys = f"{len(self.recipients)} key{'s' if len(self.recipients) > 1 else ''}"
        encryption = f"encrypted to {keys}" if self.encrypted else "not encrypted"
        return f"{self.codec} by the {self.compressed_by}, {encryption}"

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.finished_at - self.started_at).total_seconds()

    @property
    def bytes_per_second(self) -> float:
        """How fast it went: bytes in its archives, before compression."""
        return self.archived_bytes / self.seconds

    def object(self, name: str) -> StoredArchive:
        """One of its objects by name.

        Raises:
            IntegrityError: It has none of that name.
        """
        for stored in self.objects:
            if stored.name == name:
                return stored
        raise IntegrityError(f"Backup {self.id} has no object {name}.")

    def has(self, name: str) -> bool:
        """Whether it has an object of that name."""
        return any(stored.name == name for stored in self.objects)

    def archives(self) -> tuple[StoredArchive, ...]:
        """Its tar archives, the data directory's first: the others extract into what that one makes."""
        ending = f".tar{self.codec.suffix}{SUFFIX if self.encrypted else ''}"
        archives = [stored for stored in self.objects if stored.name.endswith(ending)]
        return tuple(sorted(archives, key=lambda stored: (not stored.name.startswith("base."), stored.name)))


class TableRows(_Record):
    """How many rows a restored table must have."""

    database: str
    table: str = Field(description="schema.name, quoted where SQL wants it.")
    rows: int = Field(description="Rows that were committed before the backup ended and are still there after it.")


class RowsRecord(_Record):
    """What the restore of a backup must hold, counted on the source right after the backup ended.

    `exact` says that nothing was committed between the backup's end and the count: then the numbers must be equal.
    Otherwise a restored table must have at least so many rows, unless rows were deleted from it in between, which adds.
    """

    exact: bool
    counted_at: datetime
    tables: tuple[TableRows, ...]
    uncounted: tuple[str, ...] = Field(
        (), description="Tables that were locked, dropped, or hidden by row security when they were to be counted."
    )
    schemas: dict[str, dict[str, str]] = Field(
        description="Per database: each object's identity and definition's digest."
    )
    edition: int = Field(1, description="Of the way in which definitions were digested, `inventory.EDITION`.")
    settled: int | None = Field(
        None, description="The backup certainly has what transactions with a lower id have committed."
    )
    changing: dict[str, tuple[str, ...]] = Field({}, description="Objects that changed while the backup ran: unknown.")


def read[R: BaseModel](kind: type[R], content: bytes, key: str) -> R:
    """A record from the bytes of its object.

    Raises:
        IntegrityError: They are no such record, or one of a format that is newer than this program.
    """
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise IntegrityError(f"{key} cannot be read: {where}: {first['msg']}.") from None


def utc_now() -> datetime:
    """The present moment, with its zone."""
    return datetime.now(UTC)
