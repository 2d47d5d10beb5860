"""The proof ledger: what was shown about backups, one object for each attempt, never changed and never replaced."""

from collections.abc import Iterable
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from ops_workflows.repository.backup import read
from ops_workflows.repository.catalogue import Repository


class Proof(BaseModel):
    """One attempt to show something about a backup, whatever came of it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    backup_id: str
    what: str = Field(description="A rung of the ladder, or `drill`.")
    passed: bool
    finding: str = Field(description="One sentence: what was shown, or exactly what failed.")
    at: datetime = Field(description="When the attempt began.")
    seconds: float = Field(description="How long it took.")
    evidence: dict[str, float | int | str] = {}


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


def latest(all_of_one_backup: Iterable[Proof]) -> dict[str, Proof]:
    """Of each thing that can be shown, the last attempt."""
    return {proof.what: proof for proof in all_of_one_backup}
