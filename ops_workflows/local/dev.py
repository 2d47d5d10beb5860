"""`ops dev`: the stack, traffic on it, Dagster's webserver and daemon, until somebody says stop; then as before."""

import math
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from ops_workflows.errors import ConfigurationError, OpsError
from ops_workflows.local import dagster_processes as dagster
from ops_workflows.local.ports import free_port
from ops_workflows.local.prepare import prepare
from ops_workflows.local.stack import left_as_found
from ops_workflows.local.traffic import traffic
from ops_workflows.postgres.processes import wait_until

_UI_SECONDS = 120
_ROWS = 20_000


def dev(folder: Path, *, rate: float, port: int, report: Callable[[str], None]) -> None:
    """Run everything in the foreground until SIGINT or SIGTERM; a stack that ran before is left running.

    Args:
        folder: The project's folder.
        rate: Statements of traffic per second; 0 for none.
        port: Wanted for the UI.
        report: Hears what happens.

    Raises:
        ConfigurationError: `rate` is no number from zero on.
        OpsError: Something did not start, or ended by itself; what was started is stopped by then.
    """
    if not 0 <= rate < math.inf:
        raise ConfigurationError("Traffic needs a rate that is a number above zero, or zero for none.")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with left_as_found(folder, report):
        try:
            _run(folder, rate, port, stop, report)
        finally:
            stop.set()
            report("Stopping …")
            dagster.stop_all(folder)


def _run(folder: Path, rate: float, port: int, stop: threading.Event, report: Callable[[str], None]) -> None:
    if left := dagster.stop_all(folder):
        report(f"Stopped {left} processes that an earlier `ops dev` had left.")
    settings = prepare(folder, rows=_ROWS, report=report)
    port = free_port(port)
    daemon = dagster.start(folder, "dagster-daemon", "run")
    webserver = dagster.start(folder, "dagster-webserver", "-h", "127.0.0.1", "-p", str(port))
    sender = threading.Thread(target=traffic, args=(settings,), kwargs={"rate": rate, "stop": stop}, name="traffic")
    if rate > 0:
        sender.start()
    url = f"http://127.0.0.1:{port}"
    if wait_until(lambda: stop.is_set() or webserver.poll() is not None or _answers(url), _UI_SECONDS):
        report(f"Dagster is at {url}. The nightly backup runs at 02:00 UTC; launch it now under Jobs. Ctrl-C ends it.")
    else:
        raise OpsError(f"Dagster did not answer within {_UI_SECONDS} s: see .ops/logs/dagster-webserver.log.")
    while not stop.wait(1):
        for name, process in (("dagster-daemon", daemon), ("dagster-webserver", webserver)):
            if process.poll() is not None:
                raise OpsError(f"{name} ended by itself: see .ops/logs/{name}.log.")


def _answers(url: str) -> bool:
    with suppress(URLError, TimeoutError, ConnectionError), urlopen(f"{url}/server_info", timeout=2) as answer:  # noqa: S310 - our own server
        return bool(answer.status == HTTPStatus.OK)
    return False
