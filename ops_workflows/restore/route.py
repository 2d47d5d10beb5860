"""From the bucket to a route: read what there is, then choose."""

from ops_workflows.errors import RefusedError
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.reach import reaches, read_listing
from ops_workflows.repository.wal import WalListing
from ops_workflows.restore.choose import Route, choose, own_end
from ops_workflows.restore.moment import BackupEnd, Moment


def find_route(repository: Repository, moment: Moment, backup_id: str | None = None) -> tuple[Route, WalListing]:
    """The way to a moment, and the WAL listing that it was found in.

    Args:
        repository: Where backups and WAL lie.
        moment: Where to.
        backup_id: The backup to begin with; None for the best.

    Raises:
        RefusedError: There is no such backup, or the moment cannot be reached; the text says what can.
        StorageError: The bucket did not answer.
    """
    backups = [repository.find(backup_id)] if backup_id is not None else repository.backups()
    if not backups:
        raise RefusedError(
            f"There is no backup of {repository.layout.system} in {repository.store}: take one, `ops backup`."
        )
    listing, histories = read_listing(repository, backups[-1].wal_segment_bytes)
    if isinstance(moment, BackupEnd):
        return own_end(backups[-1]), listing
    return choose(moment, reaches(backups, listing, histories), listing), listing
