"""`ops health`."""

import typer

from ops_workflows.cli.backups import Json
from ops_workflows.settings import Settings

_UNKNOWN = 3  # 2 is wrong usage


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command()(health)


def health(*, json: Json = False) -> None:
    """Look at the database, its standby, the cache and the bucket; it takes OPS_HEALTH_ROUND_SECONDS at most.

    A row is written and an object stored, and both deleted again. Thresholds are the OPS_HEALTH_… of the settings.

    The exit code is 0 if all is well or a warning, 1 if something is critical, and 3 if nothing is, but something could
    not be seen.
    """
    from rich.markup import escape

    from ops_workflows.cli.render import as_json, out, table, when
    from ops_workflows.health.reading import Severity
    from ops_workflows.health.round import look

    found = look(Settings.read())
    if json:
        as_json(found.as_dict())
    else:
        colours = {
            Severity.OK: "green",
            Severity.WARNING: "yellow",
            Severity.UNKNOWN: "magenta",
            Severity.CRITICAL: "red",
        }
        table(
            ("check", "severity", "finding"),
            [
                (each.check.replace("_", " "), f"[{colours[each.severity]}]{each.severity}[/]", escape(each.said))
                for each in found.readings
            ],
        )
        typer.echo()
        for sentence in found.left_out:
            out.print(sentence, markup=False, highlight=False)
        counts = {each: sum(reading.severity is each for reading in found.readings) for each in Severity}
        said = ", ".join(f"{count} {each}" for each, count in counts.items() if count)
        out.print(f"{when(found.at)} UTC, in {found.seconds:.1f} s: {said}.", markup=False, highlight=False)
    raise typer.Exit({Severity.CRITICAL: 1, Severity.UNKNOWN: _UNKNOWN}.get(found.severity, 0))
