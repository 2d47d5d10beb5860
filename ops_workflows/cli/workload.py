"""`ops seed | traffic`: data and load for the application's database."""

import signal
import threading
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from ops_workflows.errors import ConfigurationError
from ops_workflows.settings import Settings

if TYPE_CHECKING:
    from ops_workflows.local.traffic_tally import TrafficReport


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(seed)
    app.command()(traffic)


def seed(
    *,
    rows: Annotated[int, typer.Option(min=1, help="Rows of query_log; the other tables follow from it.")] = 200_000,
    seed: Annotated[int, typer.Option(help="Which workload: equal --seed, --rows and --base give equal rows.")] = 1,
    base: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Where its sixty days end, a time with its zone. Default: the present hour."),
    ] = None,
) -> None:
    """Load generated data with realistic distributions."""
    from ops_workflows.cli.render import facts, rows_bar, span
    from ops_workflows.local.seed import seed as load

    until = _moment(base)
    with rows_bar("seed") as bar:
        done = load(Settings.read().require("owner_dsn"), rows=rows, seed=seed, progress=bar, base=until)
    facts(
        {
            "rows": ", ".join(f"{table} {count:,}" for table, count in done.rows.items()),
            "base": f"{done.base:%Y-%m-%dT%H:%M:%S%z}",
            "took": f"{span(done.seconds)}; query_log at {done.query_log_rows_per_second:,.0f} rows/s",
        }
    )


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"--base {text!r} is no time: write one such as 2026-01-31T02:00:00Z.") from None


def traffic(
    *,
    rate: Annotated[float, typer.Option(help="Statements per second.")] = 50,
    late: Annotated[
        float, typer.Option(help="Share of them, 0 to 1, that log a query of an earlier time, up to two years ago.")
    ] = 0,
    seconds: Annotated[float | None, typer.Option(help="How long. Default: until Ctrl-C.")] = None,
) -> None:
    """Send a steady mix of reads and writes, and a heartbeat each second from which RPO is read."""
    from ops_workflows.cli.render import err, facts
    from ops_workflows.local.traffic import traffic as send

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with err.status("traffic …") as line:

        def tell(report: "TrafficReport") -> None:
            line.update(f"{report.rate:,.0f}/s, p95 {report.p95_ms:.1f} ms, {report.heartbeats:,} heartbeats")

        done = send(Settings.read(), rate=rate, late=late, seconds=seconds, stop=stop, report=tell)
    facts(
        {
            "sent": f"{done.reads:,} reads, {done.writes:,} writes, {done.heartbeats:,} heartbeats",
            "rate": f"{done.rate:,.0f} statements/s",
            "latency": f"p50 {done.p50_ms:.1f} ms, p95 {done.p95_ms:.1f} ms",
            "missed": f"{done.missed:,}; {done.reconnects:,} reconnects",
            "errors": ", ".join(f"{name} {count:,}" for name, count in done.errors.items()) or "none",
        }
    )
