"""`ops tables`."""

from typing import TYPE_CHECKING

import typer

from ops_workflows.cli.backups import Json
from ops_workflows.settings import Settings

if TYPE_CHECKING:
    from ops_workflows.tables.findings import Outcome


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command()(tables)


def tables(*, json: Json = False) -> None:
    """Look at tables, indexes and sequences for what will be trouble; nothing is changed.

    What is found is told and no failure: the exit code is 0 whenever the database could be looked at.
    """
    from ops_workflows.cli.render import as_json, facts, size, table, when
    from ops_workflows.tables.look import look

    found = look(Settings.read())
    if json:
        as_json(found.as_dict())
        return
    facts(
        {
            "database": f"{found.database} at {when(found.at)} UTC",
            "tables": f"{found.tables:,} of {size(found.table_bytes)}, {found.dead_rows:,} dead rows",
            "indexes": f"{found.indexes:,} of {size(found.index_bytes)}",
            "sequences": f"{found.sequences:,}",
        }
    )
    typer.echo()
    table(("check", "verdict", "finding"), [row for outcome in found.outcomes for row in _rows(outcome)])


def _rows(outcome: "Outcome") -> list[tuple[str, str, str]]:
    """A line for each finding; one for all where there is none."""
    from rich.markup import escape

    from ops_workflows.tables.findings import WORST

    name = outcome.kind.replace("_", " ")
    if not outcome.findings:
        return [(name, outcome.verdict, outcome.said)]
    shown = [(each.verdict.value, escape(each.sentence)) for each in outcome.findings[:WORST]]
    more = len(outcome.findings) - len(shown)
    if more:
        shown.append(("", f"And {more:,} more: --json lists all."))
    return [(name if number == 0 else "", *line) for number, line in enumerate(shown)]
