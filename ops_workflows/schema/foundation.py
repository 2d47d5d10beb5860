"""A way back, marked before a schema is migrated: a named restore point, and the place of the log."""

from datetime import UTC, datetime

from psycopg.errors import InsufficientPrivilege, ObjectNotInPrerequisiteState

from ops_workflows.postgres.connection import Connection
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.schema.history import Foundation


def lay_foundation(connection: Connection, schema: str, version: int) -> Foundation:
    """Set a restore point, if the role may (deploy/postgres/roles.sql lets it), and note where the log ends.

    Args:
        connection: Outside a transaction.
        schema: Which is to be migrated.
        version: At which it is.
    """
    name = f"migrate {schema} from {version} at {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    try:
        row = connection.execute("SELECT pg_create_restore_point(%s)::text", [name]).fetchone()
    except (InsufficientPrivilege, ObjectNotInPrerequisiteState):  # the latter where wal_level is minimal
        name, row = "", connection.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
    return Foundation(restore_point=name, restore_lsn=Lsn.parse(row[0]) if row else None)
