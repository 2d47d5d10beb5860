"""A stack with the application's schema and some data in it: what the demo and development both begin with."""

from collections.abc import Callable
from pathlib import Path

from ops_workflows.local.seed import seed
from ops_workflows.local.stack import up
from ops_workflows.postgres.connection import connect
from ops_workflows.schema.apply import apply_own, migrate_up, status
from ops_workflows.settings import Settings


def prepare(folder: Path, *, rows: int, report: Callable[[str], None], leave: int = 0) -> Settings:
    """Bring the stack up, migrate it, and load generated rows unless there are some.

    Args:
        folder: Of the stack.
        rows: Of query_log.
        report: Hears of each step.
        leave: So many of the newest migrations are left pending, if they are.

    Returns:
        The settings that lead to it.

    Raises:
        OpsError: One of the three did not work.
    """
    up(Settings.read(folder), folder, report=report)
    settings = Settings.read(folder)
    owner = settings.require("owner_dsn")
    directory = folder / settings.migrations_dir
    wanted = len(status(owner, directory).application.pending) - leave
    for applied in migrate_up(owner, directory, limit=wanted) if wanted > 0 else apply_own(owner):
        report(f"Migrated {applied.ledger} to {applied.version} {applied.name}.")
    with connect(owner) as connection:
        there = connection.execute("SELECT EXISTS (SELECT FROM query_log)").fetchone()
    if there and not there[0]:
        loaded = seed(owner, rows=rows, seed=0)  # not the one that `ops seed` takes, which can then add to these
        report(
            f"Loaded {sum(loaded.rows.values()):,} rows, query_log at {loaded.query_log_rows_per_second:,.0f} rows/s."
        )
    return settings
