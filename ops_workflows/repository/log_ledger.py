"""Which objects of the log have been read and were whole, so that each is read once and not for every backup.

    proofs/wal/<time>-<timeline>-<LSN>.json

Each is a list of objects with their version tags, and never changed. Its name tells how far the log in the bucket had
come when it was written, so that a listing is enough to notice that the end of the log is gone.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field

from ops_workflows.postgres.lsn import Lsn
from ops_workflows.repository.backup import utc_now
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.proofs import happened, is_ahead, read_each
from ops_workflows.repository.wal import Piece
from ops_workflows.storage.objects import StoredObject

_TIME = "%Y%m%dT%H%M%S.%fZ"
_NAME = re.compile(r"(?P<at>\d{8}T\d{6}\.\d{6}Z)-(?P<timeline>[0-9A-F]{8})-(?P<lsn>[0-9A-F]{16})\.json")


class LogRead(BaseModel):
    """Objects of the log that were read, and were what they must be."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    at: datetime
    objects: dict[str, str] = Field(description="By the key below `wal/`: the version tag.")


@dataclass(frozen=True, slots=True)
class Seen:
    """One such list, by its name.

    Attributes:
        key: Its object.
        at: When it was written.
        end: How far the log in the bucket had come: the timeline, and the place.
    """

    key: str
    at: datetime
    end: tuple[int, Lsn]


def note_read(repository: Repository, pieces: Iterable[Piece], at: datetime, end: tuple[int, Lsn]) -> None:
    """Add to the ledger that these objects were read.

    Args:
        repository: Where.
        pieces: Which.
        at: When that began.
        end: How far the log in the bucket has come: the timeline, and the place.

    Raises:
        StorageError: The bucket did not take it.
    """
    prefix = repository.layout.wal
    done = LogRead(at=at, objects={piece.key.removeprefix(prefix): piece.etag for piece in pieces})
    key = f"{_prefix(repository)}{at.astimezone(UTC):{_TIME}}-{end[0]:08X}-{end[1]:016X}.json"
    repository.store.put(key, done.model_dump_json().encode())


def seen(repository: Repository) -> list[Seen]:
    """What the ledger lists, oldest first, but for what is of a time that has not come: a clock was ahead.

    Raises:
        StorageError: The bucket did not answer.
    """
    prefix = _prefix(repository)
    return sorted(_parsed(prefix, repository.store.objects(prefix), utc_now()), key=lambda each: (each.at, each.key))


def known_good(repository: Repository, known: Iterable[Seen], since: datetime) -> Mapping[str, str]:
    """Version tags of the objects that were read and were whole, by their keys. A list that is damaged counts for none.

    Args:
        repository: Where.
        known: From `seen`.
        since: What was read earlier does not count any more.

    Raises:
        StorageError: The bucket did not answer.
    """
    lists, _ = read_each(LogRead, repository.store, [each.key for each in known if each.at >= since])
    return {repository.layout.wal + name: tag for done in lists.values() for name, tag in done.objects.items()}


def sweep_log_ledger(repository: Repository, before: datetime) -> int:
    """Delete lists from before a moment, which count for nothing any more, but the last, which tells the log's end.

    Raises:
        StorageError: The bucket refused it.
    """
    return repository.store.delete(each.key for each in seen(repository)[:-1] if each.at < before)


def _prefix(repository: Repository) -> str:
    return f"{repository.layout.proofs()}wal/"


def _parsed(prefix: str, objects: Iterable[StoredObject], now: datetime) -> Iterator[Seen]:
    for found in objects:
        if name := _NAME.fullmatch(found.key.removeprefix(prefix)):
            at = datetime.strptime(name["at"], _TIME).replace(tzinfo=UTC)
            if not is_ahead(at, now):
                end = int(name["timeline"], 16), Lsn(int(name["lsn"], 16))
                yield Seen(found.key, happened(at, found), end)
