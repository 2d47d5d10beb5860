"""One table brought back out of a dump, beside the living one and never over it."""

from dataclasses import dataclass
from functools import partial

from ops_workflows.postgres.connection import connect
from ops_workflows.progress import SILENT, Progress
from ops_workflows.repository.dump import Dump
from ops_workflows.repository.dumps import Dumps
from ops_workflows.restore.load import loaded
from ops_workflows.restore.table_copy import Copied, copy_table, parts, refuse_impossible
from ops_workflows.settings import Settings

_LONGEST_NAME = 63  # bytes, PostgreSQL's NAMEDATALEN - 1


@dataclass(frozen=True, slots=True)
class RestoredTable:
    """A table that came back.

    Attributes:
        dump: Where from.
        database: Its database.
        copied: What it is now.
    """

    dump: Dump
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
    """Bring one table back into the living database that OPS_OWNER_DSN names.

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
    open_living = partial(
        connect,
        settings.require("owner_dsn"),
        timeout=settings.connect_timeout_seconds,
        statement_seconds=0,
        application_name="ops_workflows restore-table",
        **({"dbname": database} if database else {}),
    )
    with open_living() as living:
        name = living.info.dbname
        dump = dumps.find(dump_id, name)
        table = dumps.fingerprint(dump).find(name, wanted)
        chosen = parts(living, target) if target else _beside(parts(living, table.quoted), dump)
        refuse_impossible(living, chosen)
    with (
        loaded(settings, dumps, dump, name, table=table, progress=progress) as server,
        connect(server.dsn(name), statement_seconds=0) as source,
        open_living() as living,
    ):
        hashed = (table.columns, table.content)
        copied = copy_table(source, table.quoted, living, chosen, hashed=hashed, progress=progress)
    return RestoredTable(dump, name, copied)


def _beside(living: tuple[str, str], dump: Dump) -> tuple[str, str]:
    schema, name = living
    suffix = f"_restored_{dump.started_at:%Y%m%d_%H%M%S}"
    return schema, name.encode()[: _LONGEST_NAME - len(suffix)].decode(errors="ignore") + suffix
