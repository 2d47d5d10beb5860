"""Up to when the query log is settled: no row with the default timestamp comes from before any more."""

from datetime import UTC, datetime
from importlib.resources import files

from ops_workflows.errors import RefusedError
from ops_workflows.postgres.connection import Connection

_HORIZON = files(__package__).joinpath("horizon.sql").read_text().encode()
_TABLES = """
    select
        to_regclass('public.query_log'), to_regclass('ops.query_stats_periods'), to_regclass('ops.query_log_marks'),
        to_regclass('ops.query_log_months'),
        case when to_regclass('public.query_log') is not null then row_security_active('public.query_log') end"""


def expect_tables(connection: Connection) -> None:
    """See that there is something to roll up, and somewhere to keep it.

    Raises:
        RefusedError: The schema is not there, or rows are hidden from the role.
    """
    row = connection.execute(_TABLES).fetchone()
    if row is None or None in row:
        raise RefusedError("The query log, or the tables of its statistics, are not there: run `ops migrate up` first.")
    if row[-1]:
        raise RefusedError(
            "Row security hides rows of public.query_log from this role, so nothing that it counts would be true: "
            "ALTER ROLE … BYPASSRLS, or let a policy show it all of them."
        )


def safe_horizon(connection: Connection) -> datetime:
    """Read it; whatever is read of the log afterwards is whole up to there, but for rows with timestamps of their own.

    Args:
        connection: Outside a transaction.

    Raises:
        RefusedError: The role does not see when the transactions of others began, or the schema is not there.
    """
    expect_tables(connection)
    row = connection.execute(_HORIZON).fetchone()
    if row is None or not row[1]:
        raise RefusedError(
            "The role of OPS_UPKEEP_DSN does not see when other transactions began, so nobody knows which rows are "
            "still to come: GRANT pg_read_all_stats TO it, as deploy/postgres/roles.sql does."
        )
    horizon: datetime = row[0]
    return horizon.astimezone(UTC)
