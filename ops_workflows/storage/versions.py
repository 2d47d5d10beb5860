"""What a versioned bucket keeps of objects that were overwritten or deleted, and when that may go for good."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby, pairwise


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """One version of an object, or one delete marker.

    Attributes:
        key: Of the object.
        version_id: The bucket's name for it.
        modified: When it was made.
        is_latest: Whether it is what the key stands for now.
        is_marker: Whether it says “deleted” and has no bytes.
        size: Bytes.
    """

    key: str
    version_id: str
    modified: datetime
    is_latest: bool
    is_marker: bool
    size: int = 0


@dataclass(frozen=True, slots=True)
class Expired:
    """What may go of one key. The marker goes after all else has gone: without it, what it hides would be back."""

    key: str
    old: tuple[StoredVersion, ...]
    marker: StoredVersion | None


def expired(versions: Iterable[StoredVersion], before: datetime) -> Iterator[Expired]:
    """What was replaced or deleted before a moment.

    What counts is when a version ceased to be the latest, not its own age: a backup that is years old and was deleted
    yesterday by mistake can still be had back.

    Args:
        versions: Key by key, the newest of each first.
        before: The moment.
    """
    for key, of_one in groupby(versions, key=lambda version: version.key):
        found = list(of_one)
        old = tuple(older for newer, older in pairwise(found) if newer.modified < before and not older.is_latest)
        latest = found[0]
        hidden_long_ago = latest.is_latest and latest.is_marker and latest.modified < before
        marker = latest if hidden_long_ago and len(old) == len(found) - 1 else None
        if old or marker:
            yield Expired(key, old, marker)
