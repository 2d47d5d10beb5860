"""`sound`: pg_amcheck finds nothing in any table or B-tree, every table can be read to its end, and indexes agree.

https://www.postgresql.org/docs/current/app-pgamcheck.html. It looks for each row of a table in
its indexes; whether an index leads to rows that the table has lost is counted besides.
"""

from collections.abc import Mapping

from ops_workflows.errors import DatabaseError, IntegrityError
from ops_workflows.postgres.amcheck import amcheck
from ops_workflows.postgres.server import Server
from ops_workflows.progress import SILENT, Progress
from ops_workflows.proof.contents import Table, find_by_index
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
    seconds = _LEAST_SECONDS + restoration.backup.database_bytes / _SLOWEST
    try:
        rows = restoration.rows
        with restoration.restored.phase("pg_amcheck"):
            finding = look_through(
                restoration.server, restoration.backup.superuser, rows, seconds, restoration.progress
            )
    except (IntegrityError, DatabaseError) as error:
        return Climb(Rung.SOUND, False, str(error))
    figures: dict[str, float | int | str] = {"tables": len(rows), "rows": sum(rows.values())}
    return Climb(Rung.SOUND, True, finding, figures | restoration.seconds())


def look_through(
    server: Server, superuser: str, rows: Mapping[Table, int], seconds: float, progress: Progress = SILENT
) -> str:
    """Look for what is wrong in a server that nobody keeps and on which nobody writes.

    Args:
        server: Recovered and promoted.
        superuser: Whom to connect as.
        rows: What each table gave when it was read to its end.
        seconds: After which pg_amcheck is given up.
        progress: Hears how far it is.

    Returns:
        That nothing is, in words.

    Raises:
        DatabaseError: What was found.
    """
    progress.begin("pg_amcheck", None)
    amcheck(server, superuser, seconds)
    crossed = find_by_index(server, superuser, rows, progress)
    return (
        f"pg_amcheck finds nothing; {len(rows):,} tables with {sum(rows.values()):,} rows can be read, and indexes "
        f"lead to all rows of {len(crossed):,} of them."
    )
