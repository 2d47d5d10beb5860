"""The facts that retention decides on, read from the bucket: all of them, or it decides nothing."""

from datetime import datetime

from ops_workflows.errors import IntegrityError, RefusedError
from ops_workflows.repository.backup import Backup, utc_now
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.dump import Dump
from ops_workflows.repository.dumps import Dumps
from ops_workflows.repository.exports import exports
from ops_workflows.repository.holdings import WAL, Holdings
from ops_workflows.repository.leases import leased
from ops_workflows.repository.periods import Policy
from ops_workflows.repository.pins import pins
from ops_workflows.repository.proofs import read_ledger
from ops_workflows.repository.retention import RetentionPlan
from ops_workflows.repository.wal import history_key, parse_history
from ops_workflows.settings import Settings


def policy_of(settings: Settings) -> Policy:
    """How much the settings want kept."""
    return Policy(settings.keep_daily, settings.keep_weekly, settings.keep_monthly)


def plan_retention(settings: Settings, repository: Repository, now: datetime | None = None) -> RetentionPlan:
    """What retention would do now. Reads the bucket alone, and changes nothing.

    Raises:
        RefusedError: A record in the bucket cannot be read or is newer than this program, so nothing may be deleted.
        StorageError: The bucket did not answer.
    """
    now = now or utc_now()
    try:
        return read_holdings(repository, now).plan(policy_of(settings), now, repository.layout.root)
    except IntegrityError as error:
        raise RefusedError(f"Nothing is let go while something in the bucket cannot be understood: {error}") from error


def read_holdings(repository: Repository, now: datetime) -> Holdings:
    """All that a repository holds of a cluster.

    Raises:
        IntegrityError: A record in it cannot be read.
        StorageError: The bucket did not answer.
    """
    return _holdings(repository, now, repository.catalogue().complete(), Dumps(repository).catalogue().complete())


def read_readable(repository: Repository, now: datetime) -> tuple[Holdings, tuple[str, ...]]:
    """What a repository holds but for the backups and dumps that are damaged, for whoever deletes nothing.

    Returns:
        What it holds, and a sentence on each backup and dump whose record cannot be read.

    Raises:
        IntegrityError: A pin or a proof in it cannot be read.
        StorageError: The bucket did not answer.
    """
    backups, dumps = repository.catalogue(), Dumps(repository).catalogue()
    held = _holdings(repository, now, backups.readable, dumps.readable)
    return held, (*backups.damaged.values(), *dumps.damaged.values())


def _holdings(repository: Repository, now: datetime, backups: tuple[Backup, ...], dumps: tuple[Dump, ...]) -> Holdings:
    root = repository.layout.root
    ids = [*(backup.id for backup in backups), *(dump.id for dump in dumps)]
    shown = read_ledger(repository, ids).complete()
    passed = {each: {what: proof.passed for what, proof in of.items()} for each, of in shown.items()}
    objects = {found.key.removeprefix(root): found.size for found in repository.store.objects(root)}
    histories = Holdings(objects, backups).listing(root).histories
    return Holdings(
        objects=objects,
        backups=backups,
        dumps=dumps,
        exports=tuple(exports(repository)),
        proofs=passed,
        pins={backup_id: pin.reason for backup_id, pin in pins(repository).items()},
        branches={each: parse_history(repository.store.get(f"{root}{WAL}{history_key(each)}")) for each in histories},
        restoring=frozenset(leased(repository, now)),
    )
