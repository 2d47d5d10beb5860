"""The records of backups and dumps, by which they exist: one that is damaged holds up nobody who can do without it.

A record ends with the SHA-256 of all that comes before, so that not one bit of it can change unseen.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from ops_workflows.errors import IntegrityError, StorageError
from ops_workflows.repository.backup import Backup, read
from ops_workflows.repository.dump import Dump
from ops_workflows.storage.store import ObjectStore

_READERS = 8
_DIGEST = re.compile(rb',\n  "digest": "([0-9a-f]{64})"\n\}\Z')


@dataclass(frozen=True, slots=True)
class Catalogue[R: (Backup, Dump)]:
    """What records there are of one kind.

    Attributes:
        readable: Oldest first.
        damaged: Why each of the others cannot be read, and what to do: a sentence, by the id of its backup or dump.
    """

    readable: tuple[R, ...]
    damaged: Mapping[str, str]

    def complete(self) -> tuple[R, ...]:
        """All there are, for whoever must know of every one.

        Raises:
            IntegrityError: The record of one cannot be read.
        """
        if self.damaged:
            raise IntegrityError(" ".join(self.damaged.values()))
        return self.readable


def sealed(record: Backup | Dump) -> bytes:
    """A record as it is stored."""
    return seal(record.model_dump_json(indent=2).encode())


def seal(document: bytes) -> bytes:
    """A JSON document, an object that ends with a brace on a line of its own, with its digest as the last member."""
    body = document.removesuffix(b"\n}")
    return body + b',\n  "digest": "' + hashlib.sha256(body).hexdigest().encode() + b'"\n}'


def read_record[R: (Backup, Dump)](kind: type[R], store: ObjectStore, key: str) -> R:
    """The record under a key.

    Raises:
        IntegrityError: It is damaged; the text says what to do.
        StorageError: The bucket did not answer.
    """
    try:
        found = read(kind, _unsealed(store.get(key), key), key)
    except IntegrityError as error:
        raise IntegrityError(
            f"{_unusable(kind, key, error)} Bring that object back, in an older version or from the second repository, "
            "or use the newer program that has written it."
        ) from None
    if found.id != _owner(key):
        raise IntegrityError(_unusable(kind, key, f"{key} is the record of {found.id}. Bring its own one back."))
    return found


def read_records[R: (Backup, Dump)](kind: type[R], store: ObjectStore, keys: Iterable[str]) -> Catalogue[R]:
    """The records under these keys, those that cannot be read told apart.

    Raises:
        StorageError: The bucket did not answer.
    """
    wanted = list(keys)
    readable, damaged = list[R](), dict[str, str]()
    with ThreadPoolExecutor(_READERS) as pool:
        for key, found in zip(wanted, pool.map(partial(_attempt, kind, store), wanted), strict=True):
            if isinstance(found, str):
                damaged[_owner(key)] = found
            elif found is not None:
                readable.append(found)
    return Catalogue(tuple(sorted(readable, key=lambda each: (each.finished_at, each.id))), damaged)


def _attempt[R: (Backup, Dump)](kind: type[R], store: ObjectStore, key: str) -> R | str | None:
    """A record; or what is wrong with it; or None, where it was let go since it was listed."""
    try:
        return read_record(kind, store, key)
    except IntegrityError as error:
        return str(error)
    except StorageError as error:
        # Where the bucket answers, it is this object that cannot be had: moved into an archive, or on a bad disk.
        return _unusable(kind, key, error) if store.head(key) is not None else None


def _unsealed(content: bytes, key: str) -> bytes:
    found = _DIGEST.search(content)
    if found is None:
        raise IntegrityError(f"{key} cannot be read: it does not end with its digest, so it is truncated or altered.")
    if hashlib.sha256(content[: found.start()]).hexdigest() != found[1].decode():
        raise IntegrityError(f"{key} cannot be read: it is altered, for its digest does not fit its content.")
    return content


def _unusable(kind: type[Backup | Dump], key: str, why: object) -> str:
    return f"{kind.__name__} {_owner(key)} cannot be used: {why}"


def _owner(key: str) -> str:
    return key.split("/")[-2]
