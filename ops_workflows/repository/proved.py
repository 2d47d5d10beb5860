"""Which backups count as proved."""

from ops_workflows.repository.backup import Backup, utc_now
from ops_workflows.repository.catalogue import Repository, unusable
from ops_workflows.repository.proofs import read_ledger
from ops_workflows.repository.rungs import Rung
from ops_workflows.repository.standing import Standing, standing

PROVED = Rung.BOOTED  # the lowest rung at which a backup counts as proved: it has been a running database


def is_proved(stands: Standing) -> bool:
    """Whether a backup was shown to be `PROVED` or more, with nothing failed."""
    return stands.failed is None and stands.highest is not None and PROVED in (*stands.highest.below(), stands.highest)


def newest_proved(repository: Repository, most_days: float) -> Backup | None:
    """The newest backup that counts as proved.

    Args:
        repository: Where it lies.
        most_days: How long a proof counts.

    Raises:
        StorageError: The bucket did not answer.
    """
    known = repository.catalogue()
    lost = unusable(known)
    backups = [backup for backup in known.readable if backup.id not in lost]
    shown, now = read_ledger(repository, [backup.id for backup in backups]), utc_now()
    proved = (each for each in reversed(backups) if is_proved(standing(shown.newest[each.id], now, most_days)))
    return next(proved, None)
