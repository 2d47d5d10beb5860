"""What one object of a bucket is known by."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as the bucket describes it.

    Attributes:
        key: Full key, with the repository's prefix.
        size: Bytes.
        etag: The bucket's version tag, quotes included.
        modified: When it was stored; None where the answer does not say.
        checksum: The bucket's own SHA-256 as it reports it (base64; `…-N` for N parts), None where it reports none.
        metadata: What was stored beside the bytes; a listing does not tell it.
    """

    key: str
    size: int
    etag: str
    modified: datetime | None = None
    checksum: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoredPart:
    """A part of a multipart upload that was acknowledged.

    Attributes:
        number: From 1.
        size: Bytes.
        etag: The bucket's tag of it.
        checksum: Its SHA-256, base64.
    """

    number: int
    size: int
    etag: str
    checksum: str


@dataclass(frozen=True, slots=True)
class PendingUpload:
    """A multipart upload that was begun and neither completed nor aborted."""

    key: str
    upload_id: str
    begun: datetime
