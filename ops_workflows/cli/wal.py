"""`ops wal stream | catch-up | status`: the log on its way into the bucket."""

import signal
import threading
from collections.abc import Callable
from typing import Annotated

import typer

from ops_workflows.cli.backups import Json
from ops_workflows.settings import Settings


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    wal = typer.Typer(help="The write-ahead log on its way into the bucket.", no_args_is_help=True)
    wal.command()(stream)
    wal.command()(catch_up)
    wal.command()(status)
    app.add_typer(wal, name="wal")


def stream() -> None:
    """Receive WAL and ship it into the bucket, until SIGTERM or Ctrl-C; what has come in is shipped first."""
    from ops_workflows.backup.wal_receiver import receive_wal
    from ops_workflows.cli.render import err, progress

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    settings = Settings.read()
    err.print(f"Receiving WAL through slot {settings.wal_slot}, shipping every {settings.wal_flush_seconds:g} s.")
    with progress(quiet=False) as bars:
        receive_wal(settings, stop, bars)


def catch_up(
    *,
    seconds: Annotated[int, typer.Option(min=1, help="Longest that it may take.")] = 900,
    json: Json = False,
) -> None:
    """Ship all that the server has written until now, and leave; for hosts where no service can run."""
    from ops_workflows.backup.wal_receiver import catch_up as carry_out
    from ops_workflows.cli.render import as_json, facts, progress

    with progress(quiet=json) as bars:
        received = carry_out(Settings.read(), seconds, bars)
    if json:
        as_json({"timeline": received.timeline, "flushed": str(received.flushed)})
        return
    facts({"in the bucket": f"timeline {received.timeline} up to {received.flushed}"})


def status(*, json: Json = False) -> None:
    """Say how far the bucket is behind, what can be recovered, and what is missing.

    The exit code is 1 if something is missing, or the bucket is further behind than OPS_RPO_OBJECTIVE_SECONDS.
    """
    from ops_workflows.backup.wal_status import wal_status
    from ops_workflows.cli.render import as_json, facts, size, span, table, when

    found = wal_status(Settings.read())
    if json:
        as_json(found.as_dict())
    else:
        table(
            ("timeline", "from", "to", "size"),
            [
                (str(part.timeline), str(part.start), str(part.end), size(part.end - part.start))
                for part in found.ranges
            ],
            right=("size",),
        )
        window, cut_off = found.window, found.cut_off
        facts(
            {
                "receiver": found.receiver,
                "lag": f"{_or_unknown(found.lag_bytes, size)}, {_or_unknown(found.lag_seconds, span)}",
                "objective": f"{'kept' if found.keeps_objective else 'not kept'}: at most "
                f"{span(found.objective_seconds)} behind, OPS_RPO_OBJECTIVE_SECONDS",
                "window": f"{when(window[0])} to {when(window[1])} UTC" if window else "none: there is no backup",
                "cut off": f"from {cut_off.start} on timeline {cut_off.timeline}: take a base backup"
                if cut_off
                else "no",
                "gaps": ", ".join(f"{gap.start} to {gap.end} on timeline {gap.timeline}" for gap in found.gaps)
                or "none",
            }
        )
    raise typer.Exit(0 if found.is_whole and found.keeps_objective else 1)


def _or_unknown[Number: (int, float)](number: Number | None, shown: Callable[[Number], str]) -> str:
    return "unknown" if number is None else shown(number)
