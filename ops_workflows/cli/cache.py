"""`ops cache prune | status`."""

from typing import TYPE_CHECKING, Annotated

import typer

from ops_workflows.cli.backups import Json
from ops_workflows.settings import Settings

if TYPE_CHECKING:
    from ops_workflows.cache.report import Figures


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    cache = typer.Typer(help="The application's caches, in PostgreSQL and in Valkey or Redis.", no_args_is_help=True)
    cache.command()(prune)
    cache.command()(status)
    app.add_typer(cache, name="cache")


def prune(
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do it.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would go, as without --yes.")] = False,
    json: Json = False,
) -> None:
    """Show which rows and keys would go; with --yes, let them go in small steps that nobody waits for.

    Leaves with 1 if pruning was held up until its time was over, and nothing could be deleted.
    """
    from ops_workflows.cache.checks import pruning_finding
    from ops_workflows.cache.prune import plan_prune
    from ops_workflows.cache.prune import prune as carry_out
    from ops_workflows.cache.report import plan_figures, pruned_figures, swept_figures
    from ops_workflows.cache.valkey import sweep
    from ops_workflows.cli.render import as_json, progress
    from ops_workflows.errors import ConfigurationError, DatabaseError, OpsError

    if yes and dry_run:
        raise ConfigurationError("--yes and --dry-run contradict each other: leave one of them out.")
    settings = Settings.read()
    in_vain = ""
    with progress(quiet=json) as bars:
        if yes:
            done = carry_out(settings, bars)
            table = pruned_figures(done)
            in_vain = pruning_finding(done).said if done.in_vain else ""
        else:
            table = plan_figures(plan_prune(settings))
        if not json:
            _print("table", table)
        try:
            keys = None if settings.redis_url is None else swept_figures(sweep(settings, bars, dry_run=not yes))
        except OpsError as error:
            if json:  # what has become of the table is said nevertheless
                as_json({"applied": yes, "table": table, "keys": None, "error": str(error)})
            raise
    _show(table, keys, json=json, applied=yes)
    if in_vain:  # could not do it is not done
        raise DatabaseError(in_vain)


def status(*, json: Json = False) -> None:
    """Show how large and how bloated the caches are, and how often the keys asked for were there."""
    from ops_workflows.cache.prune import plan_prune
    from ops_workflows.cache.report import plan_figures, server_figures
    from ops_workflows.cache.valkey import server_facts
    from ops_workflows.cli.render import as_json

    settings = Settings.read()
    table = plan_figures(plan_prune(settings))
    if not json:
        _print("table", table)
    keys = None if settings.redis_url is None else server_figures(server_facts(settings))
    if json:
        as_json({"table": table, "keys": keys})
    elif keys is not None:
        _print("keys", keys)


def _show(table: "Figures", keys: "Figures | None", *, json: bool, applied: bool) -> None:
    from ops_workflows.cli.render import as_json, facts

    if json:
        as_json({"applied": applied, "table": table, "keys": keys})
        return
    if keys is not None:
        _print("keys", keys)
    if not applied:
        found = [table["expired_rows"], table["unexpiring_rows"]]
        if keys is not None:
            found += [keys["keys_given_expiry"], keys["keys_unlinked"]]
        facts({"to do": "ops cache prune --yes" if any(found) else "nothing"})


def _print(what: str, figures: "Figures") -> None:
    """Names and values, one to a line; bytes and counts as a person reads them."""
    from ops_workflows.cli.render import facts, size

    def text(name: str, value: float | str) -> str:
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, int):
            return size(value) if "bytes" in name else f"{value:,}"
        return str(value)

    facts({what: ""} | {f"  {name.replace('_', ' ')}": text(name, value) for name, value in figures.items()})
