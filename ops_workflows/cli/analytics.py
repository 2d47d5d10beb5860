"""`ops analytics top | latency | cache-hit | growth`."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops_workflows.analytics.answers import By, Question
from ops_workflows.cli.backups import Json
from ops_workflows.errors import ConfigurationError
from ops_workflows.settings import Settings

if TYPE_CHECKING:
    from ops_workflows.analytics.answers import Answer

_DAYS = 30
_YEARS = range(1970, 3000)  # before, there is no query; after, there are days that no calendar here has
_COLUMNS = {
    Question.TOP: ("queries", "users", "hit rate", "p95"),
    Question.LATENCY: ("queries", "p50", "p95", "p99"),
    Question.CACHE_HIT: ("queries", "hit rate"),
    Question.GROWTH: ("queries", "users"),
}
_From = Annotated[
    datetime | None,
    typer.Option("--from", formats=["%Y-%m-%d"], help="The first day (UTC). Default: 29 days before the last."),
]
_To = Annotated[
    datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="The last day, which is in it. Default: today.")
]
_By = Annotated[By, typer.Option(help="What to tell apart.")]
_Plot = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Draw it instead, as PNG or SVG by the ending; a file that is there is replaced."
    ),
]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    analytics = typer.Typer(help="What was asked of the application, from its statistics.", no_args_is_help=True)
    for command in (top, latency, cache_hit, growth):
        analytics.command()(command)
    app.add_typer(analytics, name="analytics")


def top(
    *, since: _From = None, until: _To = None, by: _By = By.QUERY_TYPE, json: Json = False, plot: _Plot = None
) -> None:
    """The busiest query types, or whatever else, first."""
    _answer(Question.TOP, since, until, by, json=json, plot=plot)


def latency(
    *, since: _From = None, until: _To = None, by: _By = By.DAY, json: Json = False, plot: _Plot = None
) -> None:
    """Within how many milliseconds 50, 95 and 99 % of the queries were answered, day by day."""
    _answer(Question.LATENCY, since, until, by, json=json, plot=plot)


def cache_hit(
    *, since: _From = None, until: _To = None, by: _By = By.DAY, json: Json = False, plot: _Plot = None
) -> None:
    """What share of the queries the cache answered, day by day."""
    _answer(Question.CACHE_HIT, since, until, by, json=json, plot=plot)


def growth(*, since: _From = None, until: _To = None, by: _By = By.DAY, json: Json = False, plot: _Plot = None) -> None:
    """How many queries there were, and of how many distinct users, day by day."""
    _answer(Question.GROWTH, since, until, by, json=json, plot=plot)


def _answer(
    question: Question, since: datetime | None, until: datetime | None, by: By, *, json: bool, plot: Path | None
) -> None:
    from dataclasses import asdict

    from ops_workflows.analytics.answers import ask
    from ops_workflows.analytics.plot_file import format_of
    from ops_workflows.cli.render import as_json, err, out

    if plot is not None:
        format_of(plot)  # so that nobody waits for an answer that has nowhere to go
    settings = Settings.read()
    first, last = _days(since, until)
    found = ask(settings.require("upkeep_dsn"), by, first, last, timeout=settings.connect_timeout_seconds)
    if question is Question.TOP:
        found.sort(key=lambda each: each.queries, reverse=True)
    if plot is not None:
        from ops_workflows.analytics.plots import Asked
        from ops_workflows.analytics.plots import plot as draw

        draw(Asked(question, by, first, last), found, plot)
    if json:
        as_json([asdict(each) for each in found])
        return
    if not found:
        err.print(
            f"There are no statistics from {first} to {last}: `rollup_query_analytics` makes them.",
            soft_wrap=True,
            highlight=False,
        )
    if plot is not None:
        out.print(f"{plot} was written.", markup=False, highlight=False, soft_wrap=True)
    else:
        _show(found, by, _COLUMNS[question])


def _days(since: datetime | None, until: datetime | None) -> tuple[date, date]:
    last = (until or datetime.now(UTC)).date()
    if any(each is not None and each.year not in _YEARS for each in (since, until)):
        raise ConfigurationError(f"--from and --to are days of the years {_YEARS[0]} to {_YEARS[-1]}: name such days.")
    return since.date() if since else last - timedelta(days=_DAYS - 1), last


def _show(found: "list[Answer]", by: By, columns: tuple[str, ...]) -> None:
    from ops_workflows.cli.render import table

    table((by.value.replace("_", " "), *columns), [_row(each, columns) for each in found], right=columns)


def _row(each: "Answer", columns: tuple[str, ...]) -> tuple[str, ...]:
    from rich.markup import escape

    said = {
        "queries": f"{each.queries:,}",
        "users": f"{each.users:,}",
        "hit rate": f"{each.hit_rate:.1%}",
        "p50": _milliseconds(each.p50_ms),
        "p95": _milliseconds(each.p95_ms),
        "p99": _milliseconds(each.p99_ms),
    }
    key = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in each.key)
    return (escape(key), *(said[column] for column in columns))


def _milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f} ms"
