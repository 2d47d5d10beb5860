"""The facts that retention decides on, read from the bucket: all of them, or it decides nothing."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from ops_workflows.errors import IntegrityError, RefusedError
from ops_workflows.repository.backup import utc_now
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.dumps import Dumps
from ops_workflows.repository.holdings import WAL, Holdings
from ops_workflows.repository.leases import leased
from ops_workflows.repository.periods import Policy
from ops_workflows.repository.pins import pins
from ops_workflows.repository.proofs import latest, proofs
from ops_workflows.repository.retention import RetentionPlan
from ops_workflows.repository.wal import history_key, parse_history
from ops_workflows.settings import Settings

_READERS = 4


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
        raise RefusedError(
            f"Nothing is let go while something in the bucket cannot be understood: {error} A newer program may have "
            "written it: use that one."
        ) from error


def read_holdings(repository: Repository, now: datetime) -> Holdings:
    """All that a repository holds of a cluster.

    Raises:
        IntegrityError: A record in it cannot be read.
        StorageError: The bucket did not answer.
    """
    root = repository.layout.root
    backups, dumps = repository.backups(), Dumps(repository).all()
    ids = [*(backup.id for backup in backups), *(dump.id for dump in dumps)]
    with ThreadPoolExecutor(_READERS) as pool:
        shown = pool.map(lambda each: latest(proofs(repository, each)), ids)
        passed = {each: {what: proof.passed for what, proof in of.items()} for each, of in zip(ids, shown, strict=True)}
    objects = {found.key.removeprefix(root): found.size for found in repository.store.objects(root)}
    histories = Holdings(objects, tuple(backups)).listing(root).histories
    return Holdings(
        objects=objects,
        backups=tuple(backups),
        dumps=tuple(dumps),
        proofs=passed,
        pins={backup_id: pin.reason for backup_id, pin in pins(repository).items()},
        branches={each: parse_history(repository.store.get(f"{root}{WAL}{history_key(each)}")) for each in histories},
        restoring=frozenset(leased(repository, now)),
    )
