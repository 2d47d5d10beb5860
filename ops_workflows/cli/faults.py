"""`ops faults`: the suite of faults."""

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops_workflows.cli.backups import Json
from ops_workflows.progress import Progress
from ops_workflows.settings import Settings

if TYPE_CHECKING:
    from ops_workflows.faults.outcome import Outcome, Summary

_LONGEST_SAID = 160
_LARGEST_SEED = 2**32


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command()(faults)


def faults(
    *,
    seed: Annotated[
        int | None, typer.Option(help="Make the damage of an earlier run again. Default: by chance.")
    ] = None,
    only: Annotated[str, typer.Option(help="Kinds or families with these words, or a pattern as in a shell.")] = "*",
    fast: Annotated[bool, typer.Option("--fast", help="One kind of each family only.")] = False,
    json: Json = False,
) -> None:
    """Damage backups in every way there is, and show for each which rung of the ladder notices it.

    It works on small servers of its own, under a prefix of its own in the bucket (OPS_S3_PREFIX-faults-…), and leaves
    nothing. Where no bucket is set, it starts the embedded stack for itself. Exit code 1 unless every fault was noticed
    and nothing healthy raised an alarm.
    """
    from ops_workflows.cli.render import as_json, progress
    from ops_workflows.faults.suite import run_suite

    chosen = secrets.randbelow(_LARGEST_SEED) if seed is None else seed
    with progress(quiet=json) as bars, _settings(bars) as settings:
        bars.say(f"Seed {chosen}: with it, `ops faults --seed {chosen}` makes the same damage.")
        summary = run_suite(
            settings, chosen, only=only, fast=fast, progress=bars, report=lambda done: bars.say(_line(done))
        )
    if json:
        as_json(summary.as_dict())
    else:
        _show(summary)
    raise typer.Exit(0 if summary.passed else 1)


@contextmanager
def _settings(progress: Progress) -> Iterator[Settings]:
    """The settings; where they name no repository, those of an embedded stack that runs for the length of a `with`."""
    settings = Settings.read()
    if settings.s3_bucket is not None or settings.repository_url is not None:
        yield settings
        return
    from ops_workflows.local.layout import Layout
    from ops_workflows.local.stack import down, up

    progress.say("No bucket is set: starting the embedded stack in a temporary folder …")
    with tempfile.TemporaryDirectory(prefix="ops_faults_") as name:
        folder = Path(name).resolve()
        try:
            up(settings, folder)
            yield Settings.read(folder)
        finally:
            down(folder)
            Layout(folder).delete()


def _line(done: "Outcome") -> str:
    by = f" by {done.by}" if done.by else ""
    return f"{done.mark} {done.kind}: {done.verdict}{by}"


def _show(summary: "Summary") -> None:
    from rich.markup import escape

    from ops_workflows.cli.render import out, table

    rows = [
        (each.kind, each.must or "nothing", each.by or "nothing", escape(_short(each.said)), each.mark)
        for each in summary.outcomes
    ]
    table(("kind", "must be caught by", "caught by", "said", ""), rows)
    out.print(summary.sentence(), markup=False, highlight=False, soft_wrap=True)


def _short(said: str) -> str:
    """A sentence for a cell of the table; the whole is in the JSON."""
    line = " ".join(said.split())
    return line if len(line) <= _LONGEST_SAID else f"{line[:_LONGEST_SAID]} …"
