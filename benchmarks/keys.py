"""What a Valkey server's other clients feel while its keys are swept."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.claims import MOST_KEY_WAIT_MS
from benchmarks.machine import wait_for_quiet
from benchmarks.measure import BenchmarkError, measure
from benchmarks.ours import python_environment
from benchmarks.table import Row
from benchmarks.workplace import Workplace
from ops_workflows.local.bundled import valkey_server
from ops_workflows.local.daemon import Daemon
from ops_workflows.local.ports import assign
from ops_workflows.settings import environment

_HOST = "127.0.0.1"
_KEYS, _STALE = 1_000_000, 300_000
_IDLE_SECONDS = 100 * 86_400  # that nobody has read the stale ones; the default limit is 90 days
_VALUE = "x" * 600
_RATE = 500  # commands a second
_START_SECONDS = 30
_LEAVE_SECONDS = 30
_AT_ONCE = 5_000
_SWEEP = """
import json
from ops_workflows.cache.valkey import sweep
from ops_workflows.settings import Settings
done = sweep(Settings.read())
print(json.dumps({"unlinked": done.unlinked, "given_expiry": done.given_expiry, "seconds": done.seconds}))
"""


def keys(place: Workplace, runs: int, say: Callable[[str], None]) -> list[Row]:
    """Each round: commands alone, and while a million keys are looked at, of which most get an expiry and others go.

    Raises:
        BenchmarkError: A program failed, or other keys went than should.
    """
    alone: list[float] = []
    swept: list[float] = []
    took: list[float] = []
    for number in range(1, runs + 1):
        with _server(place) as port:
            _fill(port)
            wait_for_quiet()
            with _knocking(place, port) as knocked:
                took.append(_sweep(place, port))
            swept.append(max(knocked.milliseconds))
            # As long, since the slowest of more is slower.
            with _knocking(place, port) as knocked:
                time.sleep(took[-1])
            alone.append(max(knocked.milliseconds))
        say(
            f"round {number}: slowest command {alone[-1]:.1f} ms alone, {swept[-1]:.1f} ms while keys are swept, "
            f"which took {took[-1]:.1f} s"
        )
    section = f"Valkey: slowest of {_RATE} commands/s"
    mine = Row(section, f"while {_KEYS:,} keys are swept", tuple(swept), "ms", bound=MOST_KEY_WAIT_MS)
    return [
        mine.judged((mine.median or 0) <= MOST_KEY_WAIT_MS),
        Row(section, "nothing else", tuple(alone), "ms"),
        Row(f"{_KEYS:,} keys, of which {_STALE:,} go", "sweep", tuple(took)),
    ]


@contextmanager
def _server(place: Workplace) -> Iterator[int]:
    """An empty server for the length of a `with`, and its port."""
    folder, port = place.make("valkey"), assign({}, ())["valkey"]
    service = Daemon("valkey", "valkey-server", folder)
    text = f'bind {_HOST}\nport {port}\ndir "{folder}"\nsave ""\nappendonly no\n'
    try:
        service.start(
            [valkey_server(place.account), "-"],
            stdin=text.encode(),
            env=environment(),
            log_file=folder / "log",
            account=place.account,
            is_ready=lambda: _answers(port),
            timeout=_START_SECONDS,
        )
        yield port
    finally:
        service.stop()
        place.remove(folder)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection((_HOST, port), timeout=2) as connection:
            connection.sendall(b"PING\r\n")
            return connection.makefile("rb").readline() == b"+PONG\r\n"
    except OSError:
        return False


def _fill(port: int) -> None:
    from valkey import Valkey  # noqa: PLC0415 - only this part needs it

    with Valkey(host=_HOST, port=port, socket_timeout=60) as client:
        client.set("one", _VALUE)
        value = client.dump("one")
        client.unlink("one")
        for first in range(0, _KEYS, _AT_ONCE):
            with client.pipeline(transaction=False) as pipeline:
                for number in range(first, first + _AT_ONCE):
                    idle = _IDLE_SECONDS if number < _STALE else None
                    pipeline.restore(f"panchangam:{number}", 0, value, idletime=idle)
                pipeline.execute()


@dataclass
class _Knocked:
    """What the commands took, once their process has ended."""

    milliseconds: list[float]


@contextmanager
def _knocking(place: Workplace, port: int) -> Iterator[_Knocked]:
    """Commands for keys that stay, from a process of its own, for the length of a `with`."""
    made = _Knocked([])
    command = [sys.executable, "-m", "benchmarks.knocking", str(port), str(_RATE), str(_STALE), str(_KEYS - 1)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=python_environment(place), text=True
    ) as process:
        try:
            yield made
            said, _ = process.communicate(timeout=_LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            raise BenchmarkError(f"The commands to port {port} did not end.") from None
        finally:
            process.kill()
    if process.returncode != 0:
        raise BenchmarkError(f"The commands to port {port} failed (exit code {process.returncode}).")
    made.milliseconds = json.loads(said)


def _sweep(place: Workplace, port: int) -> float:
    """Seconds of a sweep with the default pace, in a process of its own."""
    env = python_environment(place) | {
        "OPS_REDIS_URL": f"redis://{_HOST}:{port}/0",
        "OPS_REDIS_STALE": "panchangam:*",
        "OPS_HOME": str(place.folder),
    }
    done = json.loads(measure([sys.executable, "-c", _SWEEP], log=place.folder / "sweep", env=env).output)
    if (done["unlinked"], done["given_expiry"] >= (_KEYS - _STALE) * 0.9) != (_STALE, True):
        raise BenchmarkError(f"A sweep that should unlink {_STALE:,} keys says {done}.")
    return float(done["seconds"])
