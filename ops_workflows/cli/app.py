"""The `ops` command: its subcommands put together, and how every one of them ends."""

import os
import signal
import sys
from types import FrameType

import typer

from ops_workflows.cli import (
    analytics,
    backups,
    cache,
    dumps,
    faults,
    flags,
    health,
    mirror,
    proof,
    query_log,
    retention,
    schema,
    stack,
    tables,
    wal,
    workload,
)
from ops_workflows.errors import OpsError

app = typer.Typer(
    name="ops",
    help="Back up an application's PostgreSQL to S3, restore it, and prove that the restore works.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # their panels print local variables, and those may be secrets
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
backups.register(app)
proof.register(app)
faults.register(app)
stack.register(app)
wal.register(app)
dumps.register(app)
retention.register(app)
mirror.register(app)
schema.register(app)
flags.register(app)
analytics.register(app)
query_log.register(app)
workload.register(app)
cache.register(app)
tables.register(app)
health.register(app)

_INTERRUPTED = 130  # typer's exit code for it, as shells say it; typer says nothing else


class _Interruption:
    """SIGTERM ends a command as Ctrl-C does: what is under way cleans up after itself on the way out."""

    def __init__(self) -> None:
        self.number = signal.SIGINT.value
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self)

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        self.number = number
        raise KeyboardInterrupt


def main() -> None:
    """Run `ops` and leave with its exit code.

    0: done. 1: not done; one sentence says why. 2: wrong usage. 130 and 143: interrupted, by SIGINT and SIGTERM.
    """
    interruption = _Interruption()
    try:
        _run()
    except OpsError as error:
        print(f"ops: {error}", file=sys.stderr)
        sys.exit(1)
    except SystemExit as left:
        if left.code != _INTERRUPTED:
            raise
        print("ops: interrupted.", file=sys.stderr)
        sys.exit(128 + interruption.number)
    except BrokenPipeError:
        sys.exit(1)  # the reader of a pipe left, as `ops backups | head` does; nothing more can be said to it
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"ops: {where}{error.strerror or error}. Mend that, and run it again.", file=sys.stderr)
        sys.exit(1)


def _run() -> None:
    try:
        app()
    except SystemExit:
        try:
            sys.stdout.flush()
        except OSError:
            # Else the interpreter would try, and complain, once more at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise
        raise
