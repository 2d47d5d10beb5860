"""From the bucket to a route: read what there is, then choose."""

from ops_workflows.errors import RefusedError
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.reach import reaches, read_listing
from ops_workflows.repository.wal import WalListing
from ops_workflows.restore.choose import Route, choose, own_end
from ops_workflows.restore.moment import BackupEnd, Moment


def find_route(
    repository: Repository, moment: Moment, backup_id: str | None = None, *, timeline: int | None = None
) -> tuple[Route, WalListing]:
    """The way to a moment, and the WAL listing that it was found in.

    Args:
        repository: Where backups and WAL lie.
        moment: Where to.
        backup_id: The backup to begin with; None for the best.
        timeline: The one to end on; None for the one that the server was on at the moment.

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
    ways = reaches(backups, listing, histories)
    if timeline is not None:
        known = sorted({way.timeline for way in ways})
        ways = [way for way in ways if way.timeline == timeline]
        if not ways:
            raise RefusedError(
                f"No backup leads to timeline {timeline}: they lead to {', '.join(map(str, known)) or 'none'}. Correct "
                "--timeline."
            )
    return choose(moment, ways, listing), listing
