"""Connections of probes: short-lived, in a hurry, and known by their name."""

from contextlib import AbstractContextManager

from ops_workflows.health.probe import Budget
from ops_workflows.postgres.connection import Connection, connect


def hurried(dsn: str, budget: Budget) -> AbstractContextManager[Connection]:
    """A connection each of whose steps is given up in time.

    Raises:
        DatabaseError: It cannot be had, or broke, or a statement failed or took too long.
        OutOfTimeError: The round is over.
    """
    seconds = budget.step()
    return connect(
        dsn,
        timeout=seconds,
        statement_seconds=seconds,
        application_name="ops_workflows health",
    )
