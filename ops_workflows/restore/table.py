"""One table brought back, out of a dump or as it was at a moment: beside the living one and never over it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from ops_workflows.errors import RefusedError
from ops_workflows.postgres.connection import Connection, connect
from ops_workflows.postgres.fingerprint import Content, content, settle, tables
from ops_workflows.progress import SILENT, Progress
from ops_workflows.repository.backup import utc_now
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.dump import Dump, DumpedTable, Fingerprint, FoundTable
from ops_workflows.repository.dumps import Dumps
from ops_workflows.restore import run
from ops_workflows.restore.choose import Route
from ops_workflows.restore.load import loaded
from ops_workflows.restore.moment import AtTime, Moment
from ops_workflows.restore.route import find_route
from ops_workflows.restore.scratch import scratch
from ops_workflows.restore.table_copy import Copied, copy_table, parts, refuse_impossible
from ops_workflows.settings import Settings

_LONGEST_NAME = 63  # bytes, PostgreSQL's NAMEDATALEN - 1
_UNREAD = Content(0, None)
_DATABASE = "SELECT FROM pg_database WHERE datname = %s AND datallowconn"
_UNLOGGED = "SELECT count(*) > 0 FROM pg_class WHERE oid = ANY(%s) AND relpersistence = 'u'"
_LAST_COMMIT = "SELECT pg_last_xact_replay_timestamp()"


@dataclass(frozen=True, slots=True)
class RestoredTable:
    """A table that came back.

    Attributes:
        origin: The dump, or the way to the moment, that it came from.
        database: Its database.
        copied: What it is now.
    """

    origin: Dump | Route
    database: str
    copied: Copied


def restore_table(
    settings: Settings,
    dumps: Dumps,
    wanted: str,
    *,
    dump_id: str = "latest",
    database: str | None = None,
    target: str | None = None,
    progress: Progress = SILENT,
) -> RestoredTable:
    """Bring one table out of a dump back into the living database that OPS_OWNER_DSN names.

    Args:
        settings: Also say where the scratch server goes.
        dumps: The dumps of the cluster.
        wanted: `schema.table`.
        dump_id: Which dump, or `latest`.
        database: Its database, in the dump and on the living server. Default: that of OPS_OWNER_DSN.
        target: Its new name, `schema.table`. Default: beside the living one, `<table>_restored_<time of the dump>`.
        progress: Hears of phases.

    Raises:
        RefusedError: There is no such dump or table, the new name is taken, or the living database cannot have it.
        ConfigurationError: The dump is encrypted to other keys than ours, or this machine cannot run a server.
        IntegrityError: The dump is damaged, or what came is not what was there. Nothing is left of it.
        DatabaseError: A server or pg_restore failed.
        StorageError: The bucket did not answer.
    """
    open_living = _living(settings, database)
    with open_living() as living:
        name = living.info.dbname
        dump = dumps.find(dump_id, name)
        table = dumps.fingerprint(dump).find(name, wanted)
        chosen = parts(living, target) if target else _beside(parts(living, table.quoted), dump.started_at)
        refuse_impossible(living, chosen)
    with (
        loaded(settings, dumps, dump, name, table=table, progress=progress) as server,
        connect(server.dsn(name), statement_seconds=0) as source,
        open_living() as living,
    ):
        hashed = (table.columns, table.content)
        copied = copy_table(source, table.quoted, living, chosen, hashed=hashed, progress=progress)
    return RestoredTable(dump, name, copied)


def recover_table(
    settings: Settings,
    repository: Repository,
    wanted: str,
    moment: Moment,
    *,
    database: str | None = None,
    target: str | None = None,
    progress: Progress = SILENT,
) -> RestoredTable:
    """Bring one table as it was at a moment back into the living database that OPS_OWNER_DSN names.

    The cluster is recovered to the moment in a scratch server, and the table copied from there.

    Args:
        settings: Also say where the scratch server goes, which needs room for the whole cluster.
        repository: Its backups and WAL.
        wanted: `schema.table`. It need not be there any more.
        moment: When.
        database: Its database, then and on the living server. Default: that of OPS_OWNER_DSN.
        target: Its new name, `schema.table`. Default: beside the living one, `<table>_restored_<time of the moment>`.
        progress: Hears of phases.

    Raises:
        RefusedError: The moment cannot be reached, there was no such table, there is no room, the new name is taken, or
            the living database cannot have it.
        ConfigurationError: No key of ours opens the backup, or this machine cannot run a server of its version.
        IntegrityError: The backup is damaged, or what came is not what was there. Nothing is left of it.
        DatabaseError: A server failed, or did not come to the moment.
        StorageError: The bucket did not answer.
    """
    open_living = _living(settings, database)
    route, listing = find_route(repository, moment)
    with open_living() as living:
        name = living.info.dbname
        _refuse_hopeless(living, wanted, target, moment.time if isinstance(moment, AtTime) else utc_now())
    with scratch(settings, route.backup.major, progress) as folder:
        plan = run.plan(route, folder / "data", chain=repository.chain(route.backup))
        with run.recovered(settings, repository, plan, listing, progress) as (restored, server):
            superuser = restored.backup.superuser
            with connect(server.dsn(user=superuser)) as source:
                if source.execute(_DATABASE, [name]).fetchone() is None:
                    raise RefusedError(f"There was no database {name} at {moment}: name another, --database.")
            with connect(server.dsn(name, superuser), statement_seconds=0) as source, open_living() as living:
                source.execute("SET lock_timeout = '60s'")  # a prepared transaction may hold it for ever
                settle(source)
                table = _find(source, name, wanted, moment)
                progress.begin("fingerprint", None)
                held = Content.together(content(source, part.table.quoted, table.columns) for part in table.parts)
                beside = _beside(parts(living, table.quoted), _time(source, route))
                chosen = parts(living, target) if target else beside
                hashed = (table.columns, held)
                copied = copy_table(source, table.quoted, living, chosen, hashed=hashed, progress=progress)
    return RestoredTable(route, name, copied)


def _living(settings: Settings, database: str | None) -> Callable[[], AbstractContextManager[Connection]]:
    return partial(
        connect,
        settings.require("owner_dsn"),
        timeout=settings.connect_timeout_seconds,
        statement_seconds=0,
        application_name="ops_workflows restore-table",
        **({"dbname": database} if database else {}),
    )


def _refuse_hopeless(living: Connection, wanted: str, target: str | None, at: datetime) -> None:
    """Refuse at once what would be refused after hours of recovery, however the table's name may be meant."""
    names = [parts(living, target)] if target else [_beside(each, at) for each in _readings(living, wanted)]
    refused = []
    for name in names:
        try:
            refuse_impossible(living, name)
        except RefusedError as error:
            refused.append(error)
    if len(refused) == len(names):
        raise refused[0]


def _readings(living: Connection, wanted: str) -> list[tuple[str, str]]:
    """What `wanted` can mean: a name that is quoted where SQL wants it, or one as it is, which may hold points."""
    as_it_is = [(wanted[:at], wanted[at + 1 :]) for at, sign in enumerate(wanted) if sign == "."]
    try:
        return [parts(living, wanted), *as_it_is]
    except RefusedError:
        if not as_it_is:
            raise
        return as_it_is


def _find(source: Connection, database: str, wanted: str, moment: Moment) -> FoundTable:
    known = tuple(DumpedTable(table=table, content=_UNREAD) for table in tables(source))
    found = Fingerprint(databases={database: known}).find(database, wanted)
    row = source.execute(_UNLOGGED, [list(found.oids)]).fetchone()
    if row and row[0]:
        raise RefusedError(
            f"{found.quoted} was unlogged at {moment}, so that no base backup and no WAL has its rows: a dump may have "
            "them, --from."
        )
    return found


def _time(source: Connection, route: Route) -> datetime:
    """When the moment was: its own time, or that of the last commit before it."""
    if isinstance(route.moment, AtTime):
        return route.moment.time
    row = source.execute(_LAST_COMMIT).fetchone()
    return row[0] if row and row[0] else route.backup.finished_at


def _beside(living: tuple[str, str], at: datetime) -> tuple[str, str]:
    schema, name = living
    suffix = f"_restored_{at.astimezone(UTC):%Y%m%d_%H%M%S}"
    return schema, name.encode()[: _LONGEST_NAME - len(suffix)].decode(errors="ignore") + suffix
