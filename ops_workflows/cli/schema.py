"""`ops migrate up | down | goto | status | plan | force | baseline`."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops_workflows.cli.backups import Json
from ops_workflows.settings import Settings

if TYPE_CHECKING:
    from ops_workflows.schema.apply import Applied, Hearers

_Version = Annotated[int, typer.Argument(help="The number that its file begins with; -1 for none.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    migrate = typer.Typer(help="Migrations of the schema, in golang-migrate's format.", no_args_is_help=True)
    for command in (up, down, status, plan, lint, force, baseline):
        migrate.command()(command)
    migrate.command(name="goto")(go_to)
    app.add_typer(migrate, name="migrate")


def up(*, limit: Annotated[int | None, typer.Option(help="Apply at most so many. Default: all.")] = None) -> None:
    """Apply pending migrations, this project's own first."""
    from ops_workflows.schema.apply import migrate_up

    settings = Settings.read()
    applied = migrate_up(settings.require("owner_dsn"), settings.migrations_dir, limit=limit, hearers=_hearers())
    print(f"{len(applied)} applied." if applied else "Nothing is pending.")


def down(*, steps: Annotated[int, typer.Argument(help="How many migrations to take back.", min=1)]) -> None:
    """Take back the application's newest migrations, exactly so many."""
    from ops_workflows.schema.apply import migrate_down

    settings = Settings.read()
    migrate_down(settings.require("owner_dsn"), settings.migrations_dir, steps=steps, hearers=_hearers())


def go_to(version: _Version) -> None:
    """Bring the application's schema to a version, up or down."""
    from ops_workflows.schema.apply import migrate_to

    settings = Settings.read()
    steps = migrate_to(settings.require("owner_dsn"), settings.migrations_dir, version=version, hearers=_hearers())
    print(f"{len(steps)} steps taken." if steps else f"It is at version {version}.")


def plan(*, json: Json = False) -> None:
    """Say what `up` would do, file by file, and how each would be run. Nothing is changed."""
    from ops_workflows.cli.render import as_json, table
    from ops_workflows.schema.apply import status as ask
    from ops_workflows.schema.destructive import destructions
    from ops_workflows.schema.source import read_source

    settings = Settings.read()
    found = ask(settings.require("owner_dsn"), settings.migrations_dir)
    pending = [(part.ledger, each) for part in (found.own, found.application) for each in part.pending]
    rows = [(ledger, migration, read_source(migration.up)) for ledger, migration in pending]
    if json:
        as_json(
            [
                {
                    "schema": ledger,
                    "version": migration.version,
                    "file": migration.up.name,
                    "sha256": source.sha256,
                    "statements": len(source.statements),
                    "one_transaction": source.whole,
                    "way_back": migration.down is not None,
                    "destroys": [str(each) for each in destructions(source)],
                }
                for ledger, migration, source in rows
            ]
        )
    else:
        table(
            ("schema", "file", "statements", "run", "way back", "destroys"),
            [
                (
                    ledger,
                    migration.up.name,
                    str(len(source.statements)),
                    "whole" if source.whole else "statement by statement",
                    "yes" if migration.down else "none",
                    "; ".join(f"{each.what} in line {each.line}" for each in destructions(source)) or "nothing",
                )
                for ledger, migration, source in rows
            ],
        )


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
        print(f"{len(found)} findings in {len(paths)} files.")
    raise typer.Exit(1 if found else 0)


def force(version: _Version) -> None:
    """Record a version without running anything, and that nothing is half done. Nobody checks that it is true."""
    from ops_workflows.schema.apply import force as record

    settings = Settings.read()
    before = record(settings.require("owner_dsn"), settings.migrations_dir, version=version)
    print(f"Recorded {version}; before, it was {before.version}{', dirty' if before.dirty else ''}.")


def baseline(version: _Version) -> None:
    """Take over a database whose schema was made in another way: record its version, run nothing of the application."""
    from ops_workflows.schema.apply import baseline as record

    settings = Settings.read()
    record(settings.require("owner_dsn"), settings.migrations_dir, version=version)
    print(f"Recorded {version}.")


def status(*, json: Json = False) -> None:
    """Say where the schema stands; the exit code is 1 when something is pending, dirty, or not as the files say."""
    from ops_workflows.cli.render import as_json, out, table
    from ops_workflows.schema.apply import status as ask

    settings = Settings.read()
    found = ask(settings.require("owner_dsn"), settings.migrations_dir)
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


def _hearers() -> "Hearers":
    from ops_workflows.cli.render import err
    from ops_workflows.schema.apply import Hearers

    return Hearers(_say, lambda sentence: err.print(sentence, markup=False, highlight=False, soft_wrap=True))


def _say(applied: "Applied") -> None:
    waited = f", {applied.waited:.1f} s of them for locks" if applied.waited else ""
    print(f"{applied.ledger} {applied.direction} {applied.version} {applied.name} ({applied.seconds:.2f} s{waited})")
    for warning in applied.warnings:
        print(f"  PostgreSQL warned: {warning}")
