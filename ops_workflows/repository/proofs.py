"""The proof ledger: what was shown about backups, one object for each attempt, never changed and never replaced.

    proofs/<backup or dump id>/<time>-<what>.json

The name tells what was tried and when, so that a listing finds the newest attempt at each thing, which alone is read.
"""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from ops_workflows.repository.backup import read
from ops_workflows.repository.catalogue import Repository

_READERS = 8


class Proof(BaseModel):
    """One attempt to show something about a backup, whatever came of it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    backup_id: str
    what: str = Field(description="A rung of the ladder, `drill`, or of a dump `restorable`.")
    passed: bool
    finding: str = Field(description="One sentence: what was shown, or exactly what failed.")
    at: datetime = Field(description="When the attempt began.")
    seconds: float = Field(description="How long it took.")
    evidence: dict[str, float | int | str] = {}
    versions: dict[str, str] = Field({}, description="Of the programs that looked.")
    seen: str = Field("", description="Digest of what was looked at, by names, sizes and version tags.")


class State(StrEnum):
    """Where a backup stands with one rung."""

    PASSED = "passed"
    FAILED = "failed"
    STALE = "stale"  # passed, but too long ago, or what was looked at has changed since
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
    if now - proof.at > most_age or (seen is not None and proof.seen != seen):
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


def newest(repository: Repository, ids: Iterable[str]) -> dict[str, dict[str, Proof]]:
    """Of each of these backups or dumps, the last attempt at each thing that can be shown; one listing for all of them.

    Raises:
        IntegrityError: One of them cannot be read.
        StorageError: The bucket did not answer.
    """
    found: dict[str, dict[str, Proof]] = {each: {} for each in ids}
    prefix = repository.layout.proofs(*found) if len(found) == 1 else repository.layout.proofs()
    keys = _newest_keys((each.key for each in repository.store.objects(prefix)), found)
    with ThreadPoolExecutor(_READERS) as pool:
        for proof in pool.map(lambda key: read(Proof, repository.store.get(key), key), keys):
            found[proof.backup_id][proof.what] = proof
    return found


def _newest_keys(keys: Iterable[str], ids: Mapping[str, object]) -> list[str]:
    """Of each backup and thing the key that sorts last, which is the newest."""
    last: dict[tuple[str, str], str] = {}
    for key in sorted(keys):
        backup_id, name = key.split("/")[-2:]
        _, dash, what = name.removesuffix(".json").partition("-")
        if dash and backup_id in ids:
            last[backup_id, what] = key
    return list(last.values())
