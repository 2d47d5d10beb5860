"""`ops restore --in-place`: the plan, the question, and then the work."""

import sys
from pathlib import Path

import typer

from ops_workflows.settings import Settings


def replace(settings: Settings, to: str, backup: str | None, confirm: str | None, system: str | None) -> None:
    """Show the plan, ask for the database's name unless it was given, and carry the plan out."""
    from ops_workflows.cli.render import err, facts, progress
    from ops_workflows.repository.catalogue import open_repository
    from ops_workflows.restore.in_place import restore_in_place
    from ops_workflows.restore.in_place_plan import plan_in_place
    from ops_workflows.restore.moment import parse_moment

    moment, data_dir = parse_moment(to), Path(settings.require("primary_data_dir"))
    repository = open_repository(settings, system)
    plan = plan_in_place(settings, repository, data_dir, moment, backup)
    err.print("\n".join(plan.describe()), highlight=False, soft_wrap=True)
    if confirm is None:
        question = "Type the database's name to go on"
        asked = sys.stdin.isatty()
        confirm = typer.prompt(question, default="", show_default=False, err=True) if asked else ""
    with progress(quiet=False) as bars:
        done = restore_in_place(settings, repository, plan, confirm, bars)
    facts({"restored": f"{done}: start the server, and rebuild its standbys."})
