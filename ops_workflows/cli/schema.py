"""`ops migrate up | down | status`."""

from typing import TYPE_CHECKING, Annotated

import typer

from ops_workflows.cli.backups import Json
from ops_workflows.settings import Settings

if TYPE_CHECKING:
    from ops_workflows.schema.apply import Applied


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    migrate = typer.Typer(help="Migrations of the schema, in golang-migrate's format.", no_args_is_help=True)
    migrate.command()(up)
    migrate.command()(down)
    migrate.command()(status)
    app.add_typer(migrate, name="migrate")


def up(*, limit: Annotated[int | None, typer.Option(help="Apply at most so many. Default: all.")] = None) -> None:
    """Apply pending migrations, this project's own first."""
    from ops_workflows.schema.apply import migrate_up

    settings = Settings.read()
    applied = migrate_up(settings.require("owner_dsn"), settings.migrations_dir, limit=limit, report=_say)
    print(f"{len(applied)} applied." if applied else "Nothing is pending.")


def down(*, steps: Annotated[int, typer.Argument(help="How many migrations to take back.", min=1)]) -> None:
    """Take back the application's newest migrations, exactly so many."""
    from ops_workflows.schema.apply import migrate_down

    settings = Settings.read()
    migrate_down(settings.require("owner_dsn"), settings.migrations_dir, steps=steps, report=_say)


def status(*, json: Json = False) -> None:
    """Say where the schema stands; the exit code is 1 when something is pending or dirty."""
    from ops_workflows.cli.render import as_json, table
    from ops_workflows.schema.apply import status as ask

    settings = Settings.read()
    found = ask(settings.require("owner_dsn"), settings.migrations_dir)
    parts = (found.own, found.application)
    if json:
        as_json(
            [
                {
                    "schema": part.ledger,
                    "version": part.position.version,
                    "dirty": part.position.dirty,
                    "pending": [f"{migration.version}_{migration.name}" for migration in part.pending],
                }
                for part in parts
            ]
        )
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
    raise typer.Exit(0 if found.current else 1)


def _say(applied: "Applied") -> None:
    print(f"{applied.ledger} {applied.direction} {applied.version} {applied.name} ({applied.seconds:.2f} s)")
    for warning in applied.warnings:
        print(f"  PostgreSQL warned: {warning}")
