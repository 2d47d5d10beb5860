"""`restored`: it extracts, its increments combine, and pg_verifybackup passes on each link before and on the whole."""

from ops_workflows.errors import DatabaseError, IntegrityError
from ops_workflows.proof.restoration import Restoration
from ops_workflows.proof.rungs import Climb
from ops_workflows.repository.rungs import Rung


def restored(restoration: Restoration) -> Climb:
    """Restore it, short of starting a server.

    Raises:
        ConfigurationError: This machine cannot do it, so nothing is known.
        StorageError: The bucket did not answer, so nothing is known.
        RefusedError: There is no room for it, so nothing is known.
    """
    try:
        done = restoration.restored
    except (IntegrityError, DatabaseError) as error:
        return Climb(Rung.RESTORED, False, str(error))
    links = len(restoration.repository.chain(restoration.backup))
    of = f", put together from {links} backups" if links > 1 else ""
    finding = f"pg_verifybackup finds the {restoration.backup.database_bytes:,} bytes of its files as they were{of}."
    figures: dict[str, float | int | str] = {"bytes": done.backup.database_bytes, "backups": links}
    return Climb(Rung.RESTORED, True, finding, figures | restoration.seconds())
