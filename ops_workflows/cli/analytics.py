"""`ops analytics top | latency | cache-hit | growth`."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from ops_workflows.analytics.answers import By
from ops_workflows.cli.backups import Json
from ops_workflows.settings import Settings

if TYPE_CHECKING:
    from ops_workflows.analytics.answers import Answer

_DAYS = 30
_From = Annotated[
    datetime | None,
    typer.Option("--from", formats=["%Y-%m-%d"], help="The first day (UTC). Default: 29 days before the last."),
]
_To = Annotated[
    datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="The last day, which is in it. Default: today.")
]
_By = Annotated[By, typer.Option(help="What to tell apart.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    analytics = typer.Typer(help="What was asked of the application, from its statistics.", no_args_is_help=True)
    analytics.command()(top)
    analytics.command()(latency)
    analytics.command(name="cache-hit")(cache_hit)
    analytics.command()(growth)
    app.add_typer(analytics, name="analytics")


def top(*, since: _From = None, until: _To = None, by: _By = By.QUERY_TYPE, json: Json = False) -> None:
    """The busiest query types, or whatever else, first."""
    found = sorted(_ask(since, until, by), key=lambda each: each.queries, reverse=True)
    _show(found, by, ("queries", "users", "hit rate", "p95"), json=json)


def latency(*, since: _From = None, until: _To = None, by: _By = By.DAY, json: Json = False) -> None:
    """Within how many milliseconds 50, 95 and 99 % of the queries were answered, day by day."""
    _show(_ask(since, until, by), by, ("queries", "p50", "p95", "p99"), json=json)


def cache_hit(*, since: _From = None, until: _To = None, by: _By = By.DAY, json: Json = False) -> None:
    """What share of the queries the cache answered, day by day."""
    _show(_ask(since, until, by), by, ("queries", "hit rate"), json=json)


def growth(*, since: _From = None, until: _To = None, by: _By = By.DAY, json: Json = False) -> None:
    """How many queries there were, and of how many distinct users, day by day."""
    _show(_ask(since, until, by), by, ("queries", "users"), json=json)


def _ask(since: datetime | None, until: datetime | None, by: By) -> "list[Answer]":
    from ops_workflows.analytics.answers import ask

    settings = Settings.read()
    last = (until or datetime.now(UTC)).date()
    first = since.date() if since else last - timedelta(days=_DAYS - 1)
    return ask(settings.require("upkeep_dsn"), by, first, last, timeout=settings.connect_timeout_seconds)


def _show(found: "list[Answer]", by: By, columns: tuple[str, ...], *, json: bool) -> None:
    from dataclasses import asdict

    from ops_workflows.cli.render import as_json, table

    if json:
        as_json([asdict(each) for each in found])
        return
    table((by.value.replace("_", " "), *columns), [_row(each, columns) for each in found], right=columns)


def _row(each: "Answer", columns: tuple[str, ...]) -> tuple[str, ...]:
    said = {
        "queries": f"{each.queries:,}",
        "users": f"{each.users:,}",
        "hit rate": f"{each.hit_rate:.1%}",
        "p50": _milliseconds(each.p50_ms),
        "p95": _milliseconds(each.p95_ms),
        "p99": _milliseconds(each.p99_ms),
    }
    return (each.key, *(said[column] for column in columns))


def _milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f} ms"
