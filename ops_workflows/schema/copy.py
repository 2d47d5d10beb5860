"""A copy of the database for rehearsals: the newest proved backup, brought up to now by the one restore path."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ops_workflows.backup.preflight import dumps_only
from ops_workflows.backup.wal_receiver import catch_up
from ops_workflows.errors import DatabaseError, OpsError, RefusedError
from ops_workflows.postgres.connection import connect
from ops_workflows.progress import Progress
from ops_workflows.proof.contents import roll_back_prepared
from ops_workflows.repository.backup import Backup
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.proved import newest_proved
from ops_workflows.restore import run
from ops_workflows.restore.moment import Latest
from ops_workflows.restore.route import find_route
from ops_workflows.restore.scratch import scratch
from ops_workflows.schema.reference import Catalogue
from ops_workflows.settings import Settings

_CATCH_UP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class DatabaseCopy:
    """A copy that runs.

    Attributes:
        owner: DSN of the role that owns the schema, on the copy.
        superuser: DSN of its superuser.
        backup: From which it was made.
        moment: As of which it is.
        seconds: How long each phase of the restore took.
        lacking: Why it may lack the last changes; empty where it has all that there was when it was begun.
    """

    owner: str
    superuser: str
    backup: Backup
    moment: str
    seconds: dict[str, float]
    lacking: str = ""

    def catalogue(self) -> dict[str, str]:
        """Each object's identity, and its definition's digest, as they are now."""
        with connect(self.superuser) as connection:
            return Catalogue.read(connection).objects


@contextmanager
def database_copy(
    settings: Settings, repository: Repository, database: str, progress: Progress
) -> Iterator[DatabaseCopy]:
    """An isolated copy of everything up to now, for the length of a `with`; nothing is left of it.

    Args:
        settings: Bucket, scratch folder, and who owns the schema.
        repository: Where the backup lies.
        database: The one to connect to.
        progress: Hears how far it is.

    Raises:
        RefusedError: No backup counts as proved, or this machine lacks the room.
        OpsError: It does not come back; the text says why.
    """
    backup = newest_proved(repository, settings.proof_days)
    if backup is None:
        reason = dumps_only(settings)
        raise RefusedError(
            f"{reason} So there is no copy to rehearse on."
            if reason
            else "No backup counts as proved: take one, `ops backup`, and show it, `ops verify`."
        )
    lacking = ""
    try:
        catch_up(settings, _CATCH_UP_SECONDS, progress)
    except OpsError as error:
        lacking = f"the newest log could not be had: {error}"
        progress.say(f"The copy may lack the last changes, for {lacking}")
    route, listing = find_route(repository, Latest(), backup.id)
    source = conninfo_to_dict(settings.require("owner_dsn"))
    same = {name: str(source[name]) for name in ("user", "options") if source.get(name) is not None}
    with scratch(settings, backup.major, progress) as folder:
        plan = run.plan(route, folder / "data", chain=repository.chain(backup))
        with run.recovered(settings, repository, plan, listing, progress) as (restored, server):
            # They hold locks, and nobody will ever end them here.
            roll_back_prepared(server, backup.superuser)
            try:
                yield DatabaseCopy(
                    owner=make_conninfo(host=server.host, port=server.port, dbname=database, **same),
                    superuser=server.dsn(database, backup.superuser),
                    backup=backup,
                    moment=f"{route.reach.end} of the log" if route.wal_bytes else f"the end of backup {backup.id}",
                    seconds=restored.seconds,
                    lacking=lacking,
                )
            except DatabaseError as error:
                if not server.running_processes():
                    raise DatabaseError(f"The copy's server ended while it was rehearsed on: {error}") from error
                raise
