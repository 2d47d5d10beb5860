"""`sound`: pg_amcheck finds nothing in any table or B-tree, and every table can be read to its end.

https://www.postgresql.org/docs/current/app-pgamcheck.html. Each row of a table is looked for in its indexes, too.
"""

from ops_workflows.errors import DatabaseError, IntegrityError
from ops_workflows.postgres.amcheck import amcheck
from ops_workflows.proof.restoration import Restoration
from ops_workflows.proof.rungs import Climb
from ops_workflows.repository.rungs import Rung

_LEAST_SECONDS = 120
_SLOWEST = 2_000_000  # bytes per second of a database, below which it is given up


def sound(restoration: Restoration) -> Climb:
    """Check it through and through.

    Raises:
        ConfigurationError: This machine cannot run such a server, so nothing is known.
        StorageError: The bucket did not answer, so nothing is known.
        RefusedError: There is no room for it, so nothing is known.
    """
    try:
        rows = restoration.rows
        restoration.progress.begin("pg_amcheck", None)
        with restoration.restored.phase("pg_amcheck"):
            timeout = _LEAST_SECONDS + restoration.backup.database_bytes / _SLOWEST
            amcheck(restoration.server, restoration.backup.superuser, timeout)
    except (IntegrityError, DatabaseError) as error:
        return Climb(Rung.SOUND, False, str(error))
    finding = f"pg_amcheck finds nothing; {len(rows):,} tables with {sum(rows.values()):,} rows can be read."
    figures: dict[str, float | int | str] = {"tables": len(rows), "rows": sum(rows.values())}
    return Climb(Rung.SOUND, True, finding, figures | restoration.seconds())
