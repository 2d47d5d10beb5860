"""Receivers that can be killed by the hundred: forked from one process that has read all the code, in no time."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ops_workflows.settings import Settings, environment
from tests.support.command import as_environment

_MOTHER = """
import os, sys, threading
from ops_workflows.backup.wal_receiver import receive_wal
from ops_workflows.settings import Settings
from ops_workflows.storage.s3 import open_store
settings = Settings.read()
open_store(settings)
for _ in sys.stdin:
    child = os.fork()
    if child == 0:
        receive_wal(settings, threading.Event())
        os._exit(0)
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


class Brood:
    """One receiver at a time."""

    def __init__(self, mother: subprocess.Popen[str]) -> None:
        self._mother = mother

    def hatch(self) -> int:
        """Start a receiver; its process id."""
        assert self._mother.stdin is not None
        self._mother.stdin.write("\n")
        self._mother.stdin.flush()
        return int(self._said())

    def kill(self, pid: int, number: int) -> int:
        """Send it a signal, and wait until it is gone: its exit code."""
        os.kill(pid, number)
        return int(self._said())

    def _said(self) -> str:
        assert self._mother.stdout is not None
        return self._mother.stdout.readline()


@contextmanager
def brood(settings: Settings, folder: Path) -> Iterator[Brood]:
    """For the length of a `with`; nothing of it is left."""
    with subprocess.Popen(
        [sys.executable, "-c", _MOTHER],
        cwd=folder,
        env=environment(**as_environment(settings)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as mother:
        try:
            yield Brood(mother)
        finally:
            os.killpg(mother.pid, signal.SIGKILL)
