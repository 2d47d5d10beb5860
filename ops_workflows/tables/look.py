"""A look at the tables: everything is read once, and then judged."""

from ops_workflows.postgres.connection import connect
from ops_workflows.settings import Settings
from ops_workflows.tables.analyzed import analyzed
from ops_workflows.tables.bloat import bloat
from ops_workflows.tables.findings import Inspection
from ops_workflows.tables.indexes import duplicate, unused
from ops_workflows.tables.readings import Readings, read
from ops_workflows.tables.sequences import sequences
from ops_workflows.tables.thresholds import Thresholds
from ops_workflows.tables.vacuum import autovacuum, dead_rows


def look(settings: Settings, thresholds: Thresholds | None = None) -> Inspection:
    """Look at the database of OPS_UPKEEP_DSN; nothing is changed.

    Args:
        settings: Of this installation.
        thresholds: Default: those of the settings.

    Raises:
        ConfigurationError: OPS_UPKEEP_DSN is not set.
        RefusedError: It names a standby.
        DatabaseError: PostgreSQL is unreachable, or refuses us.
    """
    chosen = thresholds or Thresholds.of(settings)
    dsn, timeout = settings.require("upkeep_dsn"), settings.connect_timeout_seconds
    with connect(dsn, timeout=timeout, application_name="ops tables") as connection:
        return judge(read(connection, chosen.least_bytes), chosen)


def judge(readings: Readings, thresholds: Thresholds) -> Inspection:
    """What the readings come to."""
    return Inspection(
        readings.circumstances.database,
        readings.circumstances.now,
        tables=sum(not each.is_toast for each in readings.tables),
        indexes=len(readings.indexes),
        sequences=len(readings.sequences),
        table_bytes=sum(each.bytes or 0 for each in readings.tables),
        index_bytes=sum(each.bytes or 0 for each in readings.indexes),
        dead_rows=sum(each.dead_rows for each in readings.tables),
        outcomes=(
            bloat(readings, thresholds),
            dead_rows(readings, thresholds),
            autovacuum(readings, thresholds),
            sequences(readings, thresholds),
            unused(readings, thresholds),
            duplicate(readings, thresholds),
            analyzed(readings, thresholds),
        ),
    )
