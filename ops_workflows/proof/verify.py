"""Every backup of a repository on the ladder: all of them up to some rung, and one, whose turn it is, further up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ops_workflows.errors import ConfigurationError, IntegrityError, RefusedError
from ops_workflows.progress import SILENT, Progress
from ops_workflows.proof.ladder import Ladder
from ops_workflows.repository.backup import Backup, utc_now
from ops_workflows.repository.catalogue import open_repository
from ops_workflows.repository.proofs import Proof, State, newest, read_ledger
from ops_workflows.repository.rungs import Rung
from ops_workflows.repository.standing import Standing, standing
from ops_workflows.settings import Settings
from ops_workflows.wording import as_markdown

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
        return as_markdown(head, rows)


def verify_backups(
    settings: Settings, rung: Rung, highest: Rung, *, again: bool = False, progress: Progress = SILENT
) -> Verified:
    """Climb with all of them, the newest first, and then further up with one of those that were shown so far.

    Args:
        settings: Which repository.
        rung: How far with each.
        highest: How far with the one whose turn it is; where that one cannot be looked at, the next one's.
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
    climbing = _Climbing(Ladder(settings, repository, progress, again=again), list(known.damaged.values()))
    fit = [backup for backup in reversed(backups) if climbing.climb(backup, rung)]
    above = frozenset((*highest.below(), highest)) - {*rung.below(), rung}
    for backup in in_turn(fit, newest(repository, [backup.id for backup in fit]), above) if above else ():
        if climbing.climb(backup, highest, above) is not None:
            break
    shown, now = read_ledger(repository, [backup.id for backup in backups]), utc_now()
    for why in shown.passed_over:
        progress.say(why)
    standings = {each.id: standing(shown.newest[each.id], now, settings.proof_days) for each in backups}
    return Verified(tuple(backups), standings, climbing.climbed, tuple(climbing.faults))


@dataclass(slots=True)
class _Climbing:
    """Climbs with one backup after the other.

    Attributes:
        ladder: Of their repository.
        faults: What speaks against any of them, a sentence each.
        climbed: How many rungs were climbed.
    """

    ladder: Ladder
    faults: list[str]
    climbed: int = 0

    def climb(self, backup: Backup, upto: Rung, only: frozenset[Rung] | None = None) -> bool | None:
        """Whether all was shown; None where it could not be looked at."""
        passed = True
        try:
            for done in self.ladder.climb(backup, upto, only=only):
                self.climbed += done.shown_at is None
                if not done.passed:
                    self.faults.append(f"{backup.id} is not {done.rung}: {done.finding}")
                    passed = False
        except (ConfigurationError, IntegrityError, RefusedError) as error:
            self.faults.append(f"{backup.id} could not be looked at: {error}")
            return None
        return passed


def in_turn(
    backups: Sequence[Backup], shown: Mapping[str, Mapping[str, Proof]], rungs: frozenset[Rung]
) -> list[Backup]:
    """Backups, those first that have waited longest for any of these rungs: never tried ones, the newest of them first.

    A rung that failed was tried, too: a damaged backup does not take every turn.
    """

    def waited(backup: Backup) -> tuple[datetime, float]:
        tried = [proof.at for rung in rungs if (proof := shown[backup.id].get(rung))]
        return max(tried, default=_NEVER), -backup.finished_at.timestamp()

    return sorted(backups, key=waited)
