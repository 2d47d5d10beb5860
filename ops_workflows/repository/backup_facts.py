"""What retention wants to know of a backup: when, where in the log, on what it builds, and what was shown of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ops_workflows.postgres.lsn import Lsn
from ops_workflows.repository.rungs import Rung


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupFacts:
    """What retention wants to know of a backup.

    Attributes:
        parent: The backup that an incremental one builds on.
        proofs: Of each thing that was tried on it, whether the last attempt passed.
    """

    id: str
    finished_at: datetime
    timeline: int
    start_lsn: Lsn
    stop_lsn: Lsn
    parent: str | None = None
    stored_bytes: int = 0
    proofs: Mapping[str, bool] = field(default_factory=dict)

    @property
    def height(self) -> int:
        """How many rungs up the highest is that was passed with none failed below it; 0 if none was."""
        height = 0
        for number, rung in enumerate(Rung, start=1):
            if self.proofs.get(rung) is False:
                break
            if self.proofs.get(rung):
                height = number
        return height


def ancestors(backup: BackupFacts, known: Mapping[str, BackupFacts]) -> Iterator[BackupFacts]:
    """What an incremental backup builds on, the nearest first, as far as it is known."""
    seen = {backup.id}
    while backup.parent is not None and backup.parent in known and backup.parent not in seen:
        seen.add(backup.parent)
        backup = known[backup.parent]
        yield backup


def is_faulty(backup: BackupFacts, known: Mapping[str, BackupFacts]) -> bool:
    """Whether something speaks against a backup: a failed proof, also of what it builds on, or a lost parent."""
    chain = [backup, *ancestors(backup, known)]
    failed = any(link.proofs.get(rung) is False for link in chain for rung in Rung)
    return failed or chain[-1].parent is not None
