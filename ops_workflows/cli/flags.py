"""`ops flags list | set`."""

from typing import Annotated

import typer

from ops_workflows.cli.backups import Json
from ops_workflows.settings import Settings


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    flags = typer.Typer(help="The application's feature flags.", no_args_is_help=True)
    flags.command(name="list")(show)
    flags.command(name="set")(change)
    app.add_typer(flags, name="flags")


def show(*, json: Json = False) -> None:
    """List the flags: which are on, for how many users, under which conditions, and who changed them last."""
    from dataclasses import asdict

    from ops_workflows.cli.render import as_json, table
    from ops_workflows.schema.flags import flags

    settings = Settings.read()
    found = flags(settings.require("upkeep_dsn"), timeout=settings.connect_timeout_seconds)
    if json:
        as_json([asdict(flag) for flag in found])
        return
    table(
        ("flag", "enabled", "rollout", "conditions", "changed by"),
        [
            (
                flag.name,
                "yes" if flag.enabled else "no",
                f"{flag.rollout_percentage} %",
                ", ".join(sorted(flag.conditions)) or "none",
                flag.updated_by or "",
            )
            for flag in found
        ],
        right=("rollout",),
    )


def change(
    name: Annotated[str, typer.Argument(help="Which, from `ops flags list`.")],
    *,
    enabled: Annotated[bool | None, typer.Option("--on/--off", help="Switch it.")] = None,
    rollout: Annotated[int | None, typer.Option(help="For how many of a hundred users, 0 to 100.")] = None,
    conditions: Annotated[str | None, typer.Option(help="All further conditions, a JSON object; {} for none.")] = None,
) -> None:
    """Change one, with a row in the application's audit log."""
    from ops_workflows.errors import ConfigurationError
    from ops_workflows.schema.flags import Change, parse_conditions, set_flag

    if (enabled, rollout, conditions) == (None, None, None):
        raise ConfigurationError("Say what to change: --on or --off, --rollout, --conditions.")
    settings = Settings.read()
    wanted = Change(enabled, rollout, None if conditions is None else parse_conditions(conditions))
    before, after = set_flag(settings.require("upkeep_dsn"), name, wanted, timeout=settings.connect_timeout_seconds)
    if before == after:
        print(f"{name} is so already.")
        return
    for what in ("enabled", "rollout_percentage", "conditions"):
        was, is_now = getattr(before, what), getattr(after, what)
        if was != is_now:
            print(f"{name}: {what} was {was}, is {is_now}.")
