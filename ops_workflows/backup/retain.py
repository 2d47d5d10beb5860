"""Retention carried out: read the bucket, plan, and delete what the plan lets go, under the cluster's backup lock.

It can be killed at any moment and run again. What is deleted is only ever what the plan, made under the lock, names.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from ops_workflows.backup.dump_lock import dump_lock
from ops_workflows.backup.lock import backup_lock
from ops_workflows.backup.removal import Enforced, let_go
from ops_workflows.errors import DatabaseError, RefusedError
from ops_workflows.postgres.connection import Connection, connect
from ops_workflows.progress import SILENT, Progress
from ops_workflows.repository.catalogue import open_repository
from ops_workflows.repository.retention import RetentionPlan
from ops_workflows.repository.retention_facts import plan_retention
from ops_workflows.settings import Settings


def enforce(
    settings: Settings, progress: Progress = SILENT, show: Callable[[RetentionPlan], None] = lambda _plan: None
) -> Enforced:
    """Plan, and carry the plan out. While a dump is being made, dumps are left to the next time.

    Args:
        settings: The cluster, its bucket, and what to keep.
        progress: Hears how far it is.
        show: Is given the plan before anything is deleted.

    Raises:
        DatabaseError: The cluster is down, so nobody can say that no backup is running: nothing is deleted any more.
        RefusedError: A backup is running, or something in the bucket cannot be read: nothing was deleted.
        StorageError: The bucket refused a deletion. What was deleted until then stays so; run it again.
    """
    with _locked(settings) as connection, ExitStack() as stack:
        repository = open_repository(settings, _system(connection))
        try:
            stack.enter_context(dump_lock(connection))
            no_dump_runs = True
        except RefusedError as error:
            no_dump_runs = False
            progress.say(f"Dumps are left to the next time. {error}")
        todo = plan_retention(settings, repository)
        show(todo)

        def hold() -> None:
            connection.execute("SELECT 1")  # the locks live in this connection and die with it

        return let_go(settings, repository, todo, progress, hold=hold, dumps=no_dump_runs)


@contextmanager
def _locked(settings: Settings) -> Iterator[Connection]:
    try:
        with (
            connect(
                settings.require("backup_dsn"),
                timeout=settings.connect_timeout_seconds,
                application_name="ops_workflows retention",
            ) as connection,
            backup_lock(connection),
        ):
            yield connection
    except DatabaseError as error:
        raise DatabaseError(
            "Retention deletes only while it holds the cluster's backup lock, so that no backup runs beside it, and it "
            f"cannot hold that now. {error}"
        ) from error


def _system(connection: Connection) -> str:
    row = connection.execute("SELECT system_identifier::text FROM pg_control_system()").fetchone()
    if row is None:
        raise DatabaseError("PostgreSQL does not say its system identifier.")
    return str(row[0])
