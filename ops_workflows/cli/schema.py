"""`ops migrate status | plan | lint | force | baseline`, and the group with what `migrate` adds to it."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from ops_workflows.cli import migrate as gated
from ops_workflows.cli.backups import Json
from ops_workflows.cli.migrate import NEGATIVE_IS_A_NUMBER, Version
from ops_workflows.settings import Settings
from ops_workflows.wording import counted


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    migrate = typer.Typer(help="Migrations of the schema, in golang-migrate's format.", no_args_is_help=True)
    gated.register(migrate)
    for command in (status, plan, lint):
        migrate.command()(command)
    for record in (force, baseline):
        migrate.command(context_settings=NEGATIVE_IS_A_NUMBER)(record)
    app.add_typer(migrate, name="migrate")


def plan(*, json: Json = False) -> None:
    """Say what `up` would do, file by file, how each would be run, and what it destroys. Nothing is changed."""
    from ops_workflows.cli.render import as_json, table
    from ops_workflows.schema.apply import intend
    from ops_workflows.schema.destructive import destructions
    from ops_workflows.schema.plan import upward

    settings = Settings.read()
    intent = intend(settings.require("owner_dsn"), settings.migrations_dir, upward())
    steps = ([intent.rest.step] if intent.rest else []) + list(intent.steps)
    ways_back = {step.script: step.migration.down is not None for step in steps}
    if json:
        files = [
            {
                "file": source.path.name,
                "sha256": source.sha256,
                "statements": len(source.statements),
                "one_transaction": source.whole,
                "way_back": ways_back[source.path],
                "destroys": [str(each) for each in destructions(source)],
            }
            for source in intent.files
        ]
        as_json({"plan": intent.digest, "from": intent.position.version, "to": intent.end.version, "files": files})
        return
    table(
        ("file", "statements", "run", "way back", "destroys"),
        [
            (
                source.path.name,
                str(len(source.statements)),
                "whole" if source.whole else "statement by statement",
                "yes" if ways_back[source.path] else "none",
                "; ".join(f"line {each.line}: {each.told}" for each in destructions(source)) or "nothing",
            )
            for source in intent.files
        ],
    )
    print(f"Plan {intent.digest}, from version {intent.position.version} to {intent.end.version}.")


def lint(
    files: Annotated[list[Path] | None, typer.Argument(help="Which. Default: what is pending.")] = None,
    *,
    json: Json = False,
) -> None:
    """Have squawk look at migrations: locks, rewrites, what does not parse. Exit code 1 if it finds anything."""
    from ops_workflows.cli.render import as_json
    from ops_workflows.schema.apply import server_major
    from ops_workflows.schema.apply import status as ask
    from ops_workflows.schema.lint import lint as look
    from ops_workflows.schema.source import read_source

    settings = Settings.read()
    dsn = settings.require("owner_dsn")
    paths = files or [each.up for each in ask(dsn, settings.migrations_dir).application.pending]
    found = look([read_source(path) for path in paths], server_major(dsn))
    if json:
        as_json([asdict(finding) for finding in found])
    else:
        for finding in found:
            print(finding)
        print(f"{counted(len(found), 'finding')} in {counted(len(paths), 'file')}.")
    raise typer.Exit(1 if found else 0)


def force(version: Version) -> None:
    """Record a version without running anything, and that nothing is half done. Nobody checks that it is true."""
    from ops_workflows.schema.apply import force as record

    settings = Settings.read()
    before = record(settings.require("owner_dsn"), settings.migrations_dir, version=version)
    print(f"Recorded {version}; before, it was {before.version}{', dirty' if before.dirty else ''}.")


def baseline(version: Version) -> None:
    """Take over a database whose schema was made in another way: record its version, run nothing of the application."""
    from ops_workflows.schema.apply import baseline as record

    settings = Settings.read()
    record(settings.require("owner_dsn"), settings.migrations_dir, version=version)
    print(f"Recorded {version}.")


def status(
    *,
    catalogue: Annotated[
        bool,
        typer.Option("--catalogue", help="Compare each object with what the files make of an empty database, too."),
    ] = False,
    json: Json = False,
) -> None:
    """Say where the schema stands; the exit code is 1 when something is pending, dirty, or not as the files say."""
    from ops_workflows.cli.render import as_json, out, table
    from ops_workflows.schema.apply import status as ask

    settings = Settings.read()
    dsn, directory = settings.require("owner_dsn"), settings.migrations_dir
    found = ask(dsn, directory)
    if catalogue:
        from ops_workflows.schema.reference import catalogue_drift

        found = replace(found, drift=(*found.drift, *catalogue_drift(settings, dsn, directory)))
    parts = (found.own, found.application)
    if json:
        schemas = [
            {
                "schema": part.ledger,
                "version": part.position.version,
                "dirty": part.position.dirty,
                "pending": [f"{migration.version}_{migration.name}" for migration in part.pending],
            }
            for part in parts
        ]
        as_json({"current": found.current, "drift": found.drift, "schemas": schemas})
    else:
        table(
            ("schema", "version", "dirty", "pending"),
            [
                (
                    part.ledger,
                    str(part.position.version),
                    "DIRTY" if part.position.dirty else "no",
                    ", ".join(f"{migration.version} {migration.name}" for migration in part.pending) or "none",
                )
                for part in parts
            ],
        )
        for sentence in found.drift:
            out.print("[red]✗[/]", end=" ")
            out.print(sentence, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(0 if found.current else 1)
