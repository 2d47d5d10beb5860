"""A process that is ended at one of its calls to the bucket: before the call arrives, or once it has been answered."""

import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ops_workflows.settings import Settings
from tests.support.command import Ended, as_environment, ended, started
from tests.support.proxy import Requests, proxy_to


class Ending:
    """Ends a process, whose start may come later than this. A killed one is waited for, and is heard no more.

    Raises:
        ConnectionAbortedError: It was killed: what it sent last is not to be passed on.
    """

    def __init__(self, number: signal.Signals = signal.SIGKILL) -> None:
        self.number = number
        self.process: subprocess.Popen[str] | None = None

    def __call__(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, self.number)
        if self.number == signal.SIGKILL:
            os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
            raise ConnectionAbortedError


@dataclass(frozen=True)
class EndedAt(Ended):
    """What became of a process, and of the call at which it was to be ended.

    Attributes:
        seen: Its calls to the bucket.
        acted: Whether it came to that call.
    """

    seen: tuple[str, ...] = ()
    acted: bool = False


def ended_at(
    settings: Settings,
    folder: Path,
    at: Callable[[str], bool],
    *command: str,
    number: signal.Signals = signal.SIGKILL,
    answered: bool = False,
) -> EndedAt:
    """Run a command and end it at the first of its S3 calls for which `at` is true; left alone, it has to succeed."""
    ending = Ending(number)
    requests = Requests(at, ending, answered=answered)
    with proxy_to(settings.require("s3_endpoint_url")) as proxy:
        proxy.before, proxy.after = requests.before, requests.after
        env = as_environment(settings.model_copy(update={"s3_endpoint_url": f"http://127.0.0.1:{proxy.port}"}))
        with started(*command, folder=folder, env=env) as process:
            ending.process = process
            done = ended(process)
    assert requests.acted or done.code == 0, done
    assert number != signal.SIGKILL or done.code == (-number if requests.acted else 0), done
    return EndedAt(done.code, done.out, done.err, done.peak_bytes, tuple(requests.seen), requests.acted)
