"""Every backup of a repository on the ladder: all of them up to some rung, and one, whose turn it is, further up."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from ops_workflows.errors import ConfigurationError, IntegrityError, RefusedError
from ops_workflows.progress import SILENT, Progress
from ops_workflows.proof.ladder import Ladder
from ops_workflows.proof.standing import Standing, standing
from ops_workflows.repository.backup import Backup, utc_now
from ops_workflows.repository.catalogue import open_repository
from ops_workflows.repository.proofs import Proof, State, newest
from ops_workflows.repository.rungs import Rung
from ops_workflows.settings import Settings

_MARKS = {State.PASSED: "✓", State.FAILED: "✗", State.STALE: "stale", State.NOT_RUN: "not run"}
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Verified:
    """What became of it.

    Attributes:
        backups: All that were looked at, oldest first.
        standings: Of each, where it stands now.
        climbed: How many rungs were climbed.
        faults: What speaks against one of them, or why one could not be looked at, a sentence each.
    """

    backups: tuple[Backup, ...]
    standings: Mapping[str, Standing]
    climbed: int
    faults: tuple[str, ...]

    def as_markdown(self) -> str:
        """The ledger as a table, newest first."""
        head = ["backup", *Rung, "shown"]
        rows = [
            [backup.id, *(_MARKS[stands.states[rung]] for rung in Rung), f"{stands.age} ago" if stands.age else ""]
            for backup in reversed(self.backups)
            for stands in [self.standings[backup.id]]
        ]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def verify_backups(
    settings: Settings, rung: Rung, highest: Rung, *, again: bool = False, progress: Progress = SILENT
) -> Verified:
    """Climb with all of them, the newest first.

    Args:
        settings: Which repository.
        rung: How far with each.
        highest: How far with the one that was shown to be so long ago as no other, or never.
        again: Look again at what was shown lately, too.
        progress: Hears how far it is.

    Raises:
        RefusedError: There is no backup.
        StorageError: The bucket did not answer.
    """
    repository = open_repository(settings)
    known = repository.catalogue()
    backups = list(known.readable)
    if not backups:
        repository.find("latest")  # which says that there is none, or what is wrong with all of them
    turn = whose_turn(backups, newest(repository, [backup.id for backup in backups]), highest)
    ladder, climbed, faults = Ladder(settings, repository, progress, again=again), 0, list(known.damaged.values())
    for backup in reversed(backups):
        try:
            for done in ladder.climb(backup, highest if backup is turn else rung):
                climbed += done.shown_at is None
                if not done.passed:
                    faults.append(f"{backup.id} is not {done.rung}: {done.finding}")
        except (ConfigurationError, IntegrityError, RefusedError) as error:
            faults.append(f"{backup.id} could not be looked at: {error}")
    shown, now = newest(repository, [backup.id for backup in backups]), utc_now()
    standings = {each.id: standing(shown[each.id], now, settings.proof_days) for each in backups}
    return Verified(tuple(backups), standings, climbed, tuple(faults))


def whose_turn(backups: list[Backup], shown: Mapping[str, Mapping[str, Proof]], rung: Rung) -> Backup:
    """The backup that has waited longest for a rung: one that never was on it comes first, the newest of those."""

    def waited(backup: Backup) -> tuple[datetime, float]:
        proof = shown[backup.id].get(rung)
        return (proof.at if proof else _NEVER, -backup.finished_at.timestamp())

    return min(backups, key=waited)
