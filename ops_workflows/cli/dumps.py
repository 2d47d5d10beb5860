"""`ops dump | dumps | restore-table`."""

from typing import TYPE_CHECKING, Annotated

import typer

from ops_workflows.cli.backups import Json, System
from ops_workflows.settings import Settings

if TYPE_CHECKING:
    from ops_workflows.repository.dump import Dump


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


def dumps(*, system: System = None, json: Json = False) -> None:
    """List the logical dumps, read from the bucket alone."""
    from ops_workflows.cli.render import as_json, size, span, table, when
    from ops_workflows.repository.catalogue import open_repository
    from ops_workflows.repository.dumps import Dumps
    from ops_workflows.repository.proofs import latest, proofs

    repository = open_repository(Settings.read(), system)
    found = [(taken, latest(proofs(repository, taken.id))) for taken in Dumps(repository).all()]
    if json:
        as_json([taken.model_dump(mode="json") | {"proofs": list(shown.values())} for taken, shown in found])
        return
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
                ", ".join(f"{what} {'✓' if proof.passed else '✗'}" for what, proof in shown.items()) or "not run",
            )
            for taken, shown in found
        ],
        right=("took", "tables", "rows", "stored"),
    )


def restore_table(
    *,
    wanted: Annotated[str, typer.Argument(metavar="SCHEMA.TABLE", help="The table to bring back.")],
    dump: Annotated[str, typer.Option("--from", help="A dump's id from `ops dumps`, or `latest`.")] = "latest",
    target: Annotated[
        str | None,
        typer.Option("--as", metavar="SCHEMA.TABLE", help="Its new name. Default: TABLE_restored_<time of the dump>."),
    ] = None,
    database: Annotated[str | None, typer.Option(help="Its database. Default: that of OPS_OWNER_DSN.")] = None,
    system: System = None,
    json: Json = False,
) -> None:
    """Bring one table back beside the living one, never over it; its rows are proved to be those that were dumped."""
    from ops_workflows.cli.render import as_json, err, facts, progress
    from ops_workflows.repository.catalogue import open_repository
    from ops_workflows.repository.dumps import Dumps
    from ops_workflows.restore.table import restore_table as bring_back

    settings = Settings.read()
    with progress(quiet=json) as bars:
        done = bring_back(
            settings,
            Dumps(open_repository(settings, system)),
            wanted,
            dump_id=dump,
            database=database,
            target=target,
            progress=bars,
        )
    if json:
        as_json(
            {
                "dump_id": done.dump.id,
                "database": done.database,
                "table": done.copied.table,
                "rows": done.copied.rows,
                "left_out": done.copied.left_out,
            }
        )
        return
    for constraint in done.copied.left_out:
        err.print(f"Left out: {constraint}", highlight=False, soft_wrap=True)
    facts(
        {
            "table": f"{done.copied.table} in database {done.database}",
            "rows": f"{done.copied.rows:,}, as they were in dump {done.dump.id}",
        }
    )


def _names(dump: "Dump") -> str:
    return ", ".join(database.name for database in dump.databases)
