"""The proof ledger: what was shown about backups, one object for each attempt, never changed and never replaced.

    proofs/<backup or dump id>/<time>-<what>.json

The name tells what was tried and when, so that a listing finds the newest attempt at each thing, which alone is read.
"""

import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from ops_workflows.errors import IntegrityError, StorageError
from ops_workflows.repository.backup import read, utc_now
from ops_workflows.repository.catalogue import Repository
from ops_workflows.storage.objects import StoredObject
from ops_workflows.storage.store import ObjectStore

CLOCKS_DIFFER = timedelta(minutes=5)
"""By so much at most, of machines whose clocks can be believed."""
_READERS = 8
_TIME = "%Y%m%dT%H%M%S.%fZ"
_KEY = re.compile(r".*/(?P<id>[^/]+)/(?P<at>\d{8}T\d{6}\.\d{6}Z)-(?P<what>[^/]+)\.json")


class Proof(BaseModel):
    """One attempt to show something about a backup, whatever came of it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    backup_id: str
    what: str = Field(description="A rung of the ladder, `drill`, or of a dump `restorable`.")
    passed: bool
    finding: str = Field(description="One sentence: what was shown, or exactly what failed.")
    at: AwareDatetime = Field(description="When the attempt began.")
    seconds: float = Field(description="How long it took.")
    evidence: dict[str, float | int | str] = {}
    versions: dict[str, str] = Field({}, description="Of the programs that looked.")
    seen: str = Field("", description="Digest of what was looked at, by names, sizes and version tags.")


class State(StrEnum):
    """Where a backup stands with one rung."""

    PASSED = "passed"
    FAILED = "failed"
    STALE = "stale"  # passed, but too long ago or not yet, or what was looked at has changed since
    NOT_RUN = "not run"


def state(proof: Proof | None, now: datetime, most_age: timedelta, seen: str | None = None) -> State:
    """What the last attempt is worth now.

    Args:
        proof: The last attempt; None if there was none.
        now: The present moment.
        most_age: How long a pass is worth something.
        seen: Digest of what there is to look at now; None where that is not asked.
    """
    if proof is None:
        return State.NOT_RUN
    if not proof.passed:
        return State.FAILED
    if not timedelta(0) <= now - proof.at <= most_age or (seen is not None and proof.seen != seen):
        return State.STALE
    return State.PASSED


def record(repository: Repository, proof: Proof) -> None:
    """Add a proof to the ledger.

    Raises:
        StorageError: The bucket did not take it.
    """
    key = repository.layout.proof(proof.backup_id, proof.at, proof.what)
    repository.store.put(key, proof.model_dump_json(indent=2).encode(), if_absent=True)


def proofs(repository: Repository, backup_id: str) -> list[Proof]:
    """Everything that was ever tried on a backup, oldest first."""
    keys = [found.key for found in repository.store.objects(repository.layout.proofs(backup_id))]
    return [read(Proof, repository.store.get(key), key) for key in sorted(keys)]


@dataclass(frozen=True, slots=True)
class Ledger:
    """What was shown of some backups or dumps.

    Attributes:
        newest: Of each, the last attempt at each thing that can be shown.
        ahead: Why attempts of a time that has not come count for nothing, a sentence by the object's key.
        damaged: Why last attempts cannot be read, likewise: what they would say counts as not shown.
    """

    newest: dict[str, dict[str, Proof]]
    ahead: dict[str, str]
    damaged: dict[str, str]

    @property
    def passed_over(self) -> tuple[str, ...]:
        """What counts for nothing and why, a sentence each, for whoever reports."""
        return (*self.ahead.values(), *self.damaged.values())

    def complete(self) -> dict[str, dict[str, Proof]]:
        """The newest, for whoever must know of every one.

        Raises:
            IntegrityError: One of them cannot be read.
        """
        if self.damaged:
            raise IntegrityError(" ".join(self.damaged.values()))
        return self.newest


def newest(repository: Repository, ids: Iterable[str]) -> dict[str, dict[str, Proof]]:
    """Of each of these backups or dumps, the last attempt at each thing that can be shown; one listing for all of them.

    Raises:
        StorageError: The bucket did not answer.
    """
    return read_ledger(repository, ids).newest


def read_ledger(repository: Repository, ids: Iterable[str]) -> Ledger:
    """The same, with what had to be passed over.

    Raises:
        StorageError: The bucket did not answer.
    """
    shown: dict[str, dict[str, Proof]] = {each: {} for each in ids}
    prefix = repository.layout.proofs(*shown) if len(shown) == 1 else repository.layout.proofs()
    listed = [each for each in _attempts(repository.store.objects(prefix)) if each.backup_id in shown]
    now = utc_now()
    ahead = {
        each.key: f"{each.key} counts for nothing: its time has not come, so a clock was ahead. Delete it."
        for each in listed
        if is_ahead(each.at, now)
    }
    real = sorted((each for each in listed if each.key not in ahead), key=lambda each: (each.by, each.key))
    last = {(each.backup_id, each.what): each.key for each in real}
    readable, damaged = read_each(Proof, repository.store, last.values())
    for (backup_id, what), key in last.items():
        if (proof := readable.get(key)) is None:
            continue
        if repository.layout.proof(proof.backup_id, proof.at, proof.what) == key:
            shown[backup_id][what] = proof
        else:
            damaged[key] = f"{key} cannot be read: it is another proof than its name says."
    return Ledger(shown, ahead, {key: f"{why} It counts as not run: `ops verify`." for key, why in damaged.items()})


def is_ahead(at: datetime, now: datetime) -> bool:
    """Whether a time that an object names has not come: it was written while a clock was ahead."""
    return at > now + CLOCKS_DIFFER


def happened(at: datetime, found: StoredObject) -> datetime:
    """By when that was which an object names a time of: nothing is stored before it has happened, whatever it says.

    So what was written while a clock was ahead does not become the newest when its time comes.
    """
    return min(at, found.modified) if found.modified is not None else at


def read_each[R: BaseModel](
    kind: type[R], store: ObjectStore, keys: Iterable[str]
) -> tuple[dict[str, R], dict[str, str]]:
    """The documents under these keys, and why some of them cannot be read, each by its key.

    Raises:
        StorageError: The bucket did not answer.
    """
    wanted = list(keys)
    readable, damaged = dict[str, R](), dict[str, str]()
    with ThreadPoolExecutor(_READERS) as pool:
        for key, found in zip(wanted, pool.map(lambda key: _attempt(kind, store, key), wanted), strict=True):
            if isinstance(found, str):
                damaged[key] = found
            elif found is not None:
                readable[key] = found
    return readable, damaged


def _attempt[R: BaseModel](kind: type[R], store: ObjectStore, key: str) -> R | str | None:
    """A document; or what is wrong with it; or None, where it was let go since it was listed."""
    try:
        return read(kind, store.get(key), key)
    except IntegrityError as error:
        return str(error)
    except StorageError as error:
        # Where the bucket answers, it is this object that cannot be had: moved into an archive, or on a bad disk.
        return str(error) if store.head(key) is not None else None


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One object of the ledger, by its name.

    Attributes:
        at: When it began, as it says.
        by: By when it had.
    """

    key: str
    backup_id: str
    what: str
    at: datetime
    by: datetime


def _attempts(objects: Iterable[StoredObject]) -> Iterator[_Attempt]:
    for found in objects:
        if name := _KEY.fullmatch(found.key):
            at = datetime.strptime(name["at"], _TIME).replace(tzinfo=UTC)
            yield _Attempt(found.key, name["id"], name["what"], at, happened(at, found))
