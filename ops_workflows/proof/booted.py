"""`booted`: PostgreSQL starts from the backup and is consistent, and what is there is what was there.

Row counts and schema are compared with what was counted on the source (`rows.json`). A count comes from reading each
row with all its columns.
"""

from collections.abc import Iterable, Sequence

from ops_workflows.errors import DatabaseError, IntegrityError
from ops_workflows.postgres.inventory import EDITION
from ops_workflows.proof.contents import Table
from ops_workflows.proof.restoration import Restoration
from ops_workflows.proof.rungs import Climb
from ops_workflows.repository.backup import RowsRecord
from ops_workflows.repository.rungs import Rung

_MOST_FAULTS = 5  # that a finding names


def booted(restoration: Restoration) -> Climb:
    """Start it, read everything, compare.

    Raises:
        ConfigurationError: This machine cannot run such a server, so nothing is known.
        StorageError: The bucket did not answer, so nothing is known.
        RefusedError: There is no room for it, so nothing is known.
    """
    try:
        expected = restoration.repository.rows(restoration.backup)
        found = restoration.rows
        faults = list(differences(expected, found, restoration.schemas) if expected else ())
    except (IntegrityError, DatabaseError) as error:
        return Climb(Rung.BOOTED, False, str(error))
    rows = sum(found.values())
    figures: dict[str, float | int | str] = {"tables": len(found), "rows": rows, "compared": compared(expected)}
    figures |= restoration.seconds()
    if faults:
        return Climb(Rung.BOOTED, False, f"The restored database differs. {_listed(faults)}.", figures)
    if expected is None:
        finding = "It starts and can be read, but its rows were not counted at the source, so nothing was compared."
        return Climb(Rung.BOOTED, False, finding, figures)
    finding = (
        f"It starts; {len(found):,} tables with {rows:,} rows were read and are as expected ({compared(expected)})."
    )
    if expected.uncounted:
        figures["uncounted"] = len(expected.uncounted)
        finding += f" Not counted at the source, so only read: {_listed(expected.uncounted)}."
    return Climb(Rung.BOOTED, True, finding, figures)


def compared(expected: RowsRecord | None) -> str:
    """How strictly rows are compared, in words."""
    if expected is None:
        return "not at all"
    strictly = "exactly" if expected.exact else "from below: writes went on while the backup ran"
    return strictly if expected.edition == EDITION else f"{strictly}; definitions not, the record of them is older"


def differences(expected: RowsRecord, found: dict[Table, int], schemas: dict[str, dict[str, str]]) -> Iterable[str]:
    """What a restored server lacks, or has besides, against what was expected: a clause for each.

    Certain of the stop LSN are the rows and the objects that are listed, for nobody touched them between then and the
    count: that one is missing or differs, or that a table has fewer rows, is always a fault. That there is more is one
    only where nobody changed anything at all. Objects are compared where they were digested in the present way.
    """
    for table in expected.tables:
        rows = found.get((table.database, table.table))
        if rows is None:
            yield f"{table.table} of {table.database} is missing"
        elif rows < table.rows or (expected.exact and rows != table.rows):
            least = "" if expected.exact else "at least "
            yield f"{table.table} of {table.database} has {rows:,} rows and not {least}{table.rows:,}"
    for database, objects in expected.schemas.items():
        there = schemas.get(database)
        if there is None:
            yield f"database {database} is missing"
            continue
        if expected.edition != EDITION:
            continue
        yield from (f"{name} of {database} is missing" for name in objects.keys() - there.keys())
        yield from (
            f"{name} of {database} differs" for name in objects.keys() & there.keys() if objects[name] != there[name]
        )
        if expected.exact:
            # Otherwise more may have been there at the stop LSN: what was made and dropped again before the source was
            # looked at has left no trace there.
            changing = set(expected.changing.get(database, ()))
            yield from (f"{name} of {database} is unexpected" for name in there.keys() - objects.keys() - changing)


def _listed(faults: Sequence[str]) -> str:
    more = f"; and {len(faults) - _MOST_FAULTS} more" if len(faults) > _MOST_FAULTS else ""
    return "; ".join(faults[:_MOST_FAULTS]) + more
