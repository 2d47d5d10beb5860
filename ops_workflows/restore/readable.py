"""Whether our keys open what a restore needs: known before any work, and not half an hour into it."""

from collections.abc import Iterable

from ops_workflows.repository.backup import Backup
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.reach import Reach
from ops_workflows.repository.wal import WalListing
from ops_workflows.storage.encryption import HEADER_BYTES, SUFFIX


def require_backups(repository: Repository, backups: Iterable[Backup]) -> None:
    """See to it that backups can be read; their records say to which public keys they are encrypted.

    Raises:
        ConfigurationError: One of them cannot.
    """
    for backup in backups:
        if backup.encrypted:
            repository.keys.require(backup.recipients, f"Backup {backup.id}")


def require_wal(repository: Repository, reach: Reach, listing: WalListing) -> None:
    """See to it that the WAL of a way can be read, by the headers of its first and its last encrypted object.

    Raises:
        ConfigurationError: It cannot.
        StorageError: The bucket did not answer.
    """
    sealed = [
        piece.key
        for piece in listing.pieces
        if piece.key.endswith(SUFFIX)
        and any(
            leg.timeline == piece.timeline and piece.start < leg.end and leg.start < piece.end for leg in reach.legs
        )
    ]
    for key in {*sealed[:1], *sealed[-1:]}:
        found = repository.store.head(key)
        if found is not None:  # else fetching will say that it is gone
            header = repository.store.get_range(key, 0, min(found.size, HEADER_BYTES), found.etag)
            repository.keys.require_header(header, key)
