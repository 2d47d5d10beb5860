"""`ops dump | dumps | restore-table`."""

from typing import TYPE_CHECKING, Annotated

import typer

from ops_workflows.cli.backups import Json, System, say, settings_at
from ops_workflows.errors import ConfigurationError
from ops_workflows.settings import Settings

if TYPE_CHECKING:
    from ops_workflows.repository.dump import Dump

_Repository = Annotated[
    str | None, typer.Option(metavar="URL", help="Another repository: file:///FOLDER or s3://BUCKET/PREFIX.")
]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(dump)
    app.command()(dumps)
    app.command("restore-table")(restore_table)


def dump(
    *,
    database: Annotated[
        list[str] | None, typer.Option(help="Only this database; may be given several times. Default: all.")
    ] = None,
    json: Json = False,
) -> None:
    """Dump the databases into the bucket with pg_dump; it takes no more than the right to read."""
    from ops_workflows.backup.dump import take_dump
    from ops_workflows.cli.render import as_json, facts, progress, size, span

    with progress(quiet=json) as bars:
        taken = take_dump(Settings.read(), database or (), bars)
    if json:
        as_json(taken)
        return
    facts(
        {
            "dump": taken.id,
            "databases": _names(taken),
            "database": size(taken.database_bytes),
            "stored": size(taken.stored_bytes),
            "fingerprint": f"{taken.tables:,} tables, {taken.rows:,} rows",
            "took": f"{span(taken.seconds)}, {size(taken.database_bytes / taken.seconds)}/s",
        }
    )


def dumps(*, repository: _Repository = None, system: System = None, json: Json = False) -> None:
    """List the logical dumps, read from the bucket alone; exit code 1 if the record of one cannot be read."""
    from ops_workflows.cli.render import as_json, size, span, table, when
    from ops_workflows.repository.catalogue import open_repository
    from ops_workflows.repository.dumps import Dumps
    from ops_workflows.repository.proofs import newest

    opened = open_repository(settings_at(repository, system))
    known = Dumps(opened).catalogue()
    taken_so_far, damaged = known.readable, known.damaged
    shown = newest(opened, (taken.id for taken in taken_so_far))
    if json:
        as_json(
            [
                taken.model_dump(mode="json") | {"proofs": list(shown[taken.id].values()), "unusable": None}
                for taken in taken_so_far
            ]
            + [{"id": each, "unusable": why} for each, why in damaged.items()]
        )
        raise typer.Exit(1 if damaged else 0)
    table(
        ("dump", "finished (UTC)", "took", "databases", "tables", "rows", "stored", "shown"),
        [
            (
                taken.id,
                when(taken.finished_at),
                span(taken.seconds),
                _names(taken),
                f"{taken.tables:,}",
                f"{taken.rows:,}",
                size(taken.stored_bytes),
                ", ".join(f"{what} {'✓' if proof.passed else '✗'}" for what, proof in shown[taken.id].items())
                or "not run",
            )
            for taken in taken_so_far
        ]
        + [(each, "", "", "", "", "", "", "damaged") for each in damaged],
        right=("took", "tables", "rows", "stored"),
    )
    say(damaged.values())
    raise typer.Exit(1 if damaged else 0)


def restore_table(
    *,
    wanted: Annotated[str, typer.Argument(metavar="SCHEMA.TABLE", help="The table to bring back.")],
    dump: Annotated[
        str | None, typer.Option("--from", help="A dump's id from `ops dumps`, or `latest`, which is the default.")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            help="Not from a dump, but as it was at a moment: a time with its zone, an LSN, name:RESTORE_POINT, latest."
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--as", metavar="SCHEMA.TABLE", help="Its new name. Default: TABLE_restored_<time of the dump or moment>."
        ),
    ] = None,
    database: Annotated[str | None, typer.Option(help="Its database. Default: that of OPS_OWNER_DSN.")] = None,
    repository: _Repository = None,
    system: System = None,
    json: Json = False,
) -> None:
    """Bring one table back beside the living one, never over it; its rows are proved to be those that were there."""
    from ops_workflows.cli.render import as_json, facts, progress
    from ops_workflows.repository.catalogue import open_repository
    from ops_workflows.repository.dump import Dump
    from ops_workflows.repository.dumps import Dumps
    from ops_workflows.restore import table
    from ops_workflows.restore.moment import parse_moment

    if dump is not None and to is not None:
        raise ConfigurationError("--from names a dump and --to a moment: give one of them.")
    moment = None if to is None else parse_moment(to)
    settings = settings_at(repository, system)
    opened = open_repository(settings)
    with progress(quiet=json) as bars:
        if moment is None:
            done = table.restore_table(
                settings,
                Dumps(opened),
                wanted,
                dump_id=dump or "latest",
                database=database,
                target=target,
                progress=bars,
            )
        else:
            done = table.recover_table(
                settings, opened, wanted, moment, database=database, target=target, progress=bars
            )
    origin = done.origin
    if isinstance(origin, Dump):
        source, words = {"dump_id": origin.id}, f"in dump {origin.id}"
    else:
        source = {"backup_id": origin.backup.id, "moment": str(origin.moment)}
        words = f"at {origin.moment}"
    if json:
        as_json(
            {
                **source,
                "database": done.database,
                "table": done.copied.table,
                "rows": done.copied.rows,
                "left_out": done.copied.left_out,
            }
        )
        return
    say(f"Left out: {constraint}" for constraint in done.copied.left_out)
    facts(
        {
            "table": f"{done.copied.table} in database {done.database}",
            "rows": f"{done.copied.rows:,}, as they were {words}",
        }
    )


def _names(dump: "Dump") -> str:
    return ", ".join(database.name for database in dump.databases)
