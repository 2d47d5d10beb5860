"""What is known of months that are old enough to go: their statistics, and what a proved backup has of their rows."""

from collections.abc import Sequence
from importlib.resources import files

from psycopg import sql

from ops_workflows.analytics.months import Month, Partition
from ops_workflows.analytics.months_plan import Evidence
from ops_workflows.analytics.period import Grain
from ops_workflows.analytics.standing import State, standings
from ops_workflows.postgres import inventory
from ops_workflows.postgres.connection import Connection
from ops_workflows.postgres.inventory import Snapshot
from ops_workflows.repository.backup import Backup
from ops_workflows.repository.catalogue import Repository

_OBSTACLES = files(__package__).joinpath("months_obstacles.sql").read_text().encode()


def gather(
    connection: Connection, repository: Repository, backup: Backup | None, old: Sequence[Partition]
) -> dict[Month, Evidence]:
    """Look at each of these months; nothing is changed.

    Args:
        connection: To the log.
        repository: Where the backup lies.
        backup: The newest that counts as proved.
        old: The months.

    Raises:
        StorageError: The bucket did not answer.
    """
    settled = _settled(repository, connection, backup)
    return {each.month: _evidence(connection, each, backup, settled) for each in old}


def _settled(repository: Repository, connection: Connection, backup: Backup | None) -> int | None:
    """A backup has what transactions with a lower id than this have committed; None, where nobody can say.

    After a recovery to an earlier moment ids are given a second time, so they say nothing of another timeline's backup.
    """
    row = connection.execute("select timeline_id from pg_control_checkpoint()").fetchone()
    if backup is None or row is None or row[0] != backup.timeline:
        return None
    rows = repository.rows(backup)
    if rows is None or connection.info.dbname not in {each.database for each in rows.tables}:
        return None
    return rows.settled


def _evidence(connection: Connection, part: Partition, backup: Backup | None, settled: int | None) -> Evidence:
    month = part.month
    hours = standings(connection, Grain.HOUR, month.start, month.end)
    days = standings(connection, Grain.DAY, month.start, month.end)
    return Evidence(
        rows=sum(each.source for each in hours),
        differing=[f"{each.period}: {each.state}" for each in (*hours, *days) if each.state is not State.AGREES],
        backup_id=backup.id if backup else "",
        held=untouched(connection, part.name, settled) if settled is not None else None,
        obstacles=[why for (why,) in connection.execute(_OBSTACLES, {"relation": part.relation})],
    )


def untouched(connection: Connection, name: str, since: int) -> int | None:
    """How much of a month no transaction that had not ended by then has made or touched.

    Args:
        connection: Outside a transaction.
        name: Of its table, in schema public.
        since: The lowest id of those transactions.

    Returns:
        Rows; None, where they are locked or hidden.
    """
    table = sql.Identifier("public", name).as_string(connection)
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read, read only")
        return inventory.count(connection, table, range(since, Snapshot.take(connection).next))
