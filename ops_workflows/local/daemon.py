"""A service of the embedded stack that is one program in one folder: started, waited for, stopped until it is gone."""

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from ops_workflows.errors import OpsError
from ops_workflows.postgres.account import Account
from ops_workflows.postgres.processes import last_words, launch, send, size_of, standing_in, wait_until


@dataclass(frozen=True)
class Daemon:
    """The service `name`, whose program file is called `program` and which stands in `folder`."""

    name: str
    program: str
    folder: Path

    def running_processes(self) -> list[psutil.Process]:
        """Its living processes, whoever started them."""
        return standing_in(self.folder, {self.program})

    def start(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        log_file: Path,
        account: Account | None,
        is_ready: Callable[[], bool],
        timeout: float,
        stdin: bytes = b"",
    ) -> None:
        """Start it and wait until it is ready; one that runs already is only waited for.

        Raises:
            OpsError: It ended, or was not ready in time (then it is stopped again); with its last words.
        """
        logged_before = size_of(log_file)
        ready = False
        try:
            if not self.running_processes():
                launch(command, folder=self.folder, log_file=log_file, account=account, env=env, stdin=stdin)
            wait_until(lambda: is_ready() or not self.running_processes(), timeout)
            # In this order: on its port, somebody else's service might answer after ours has ended.
            ready = is_ready() and bool(self.running_processes())
        finally:
            if not ready:
                self.stop()
        if not ready:
            said = last_words(log_file, since=logged_before)
            raise OpsError(f"{self.name} did not become ready; it said:\n  {said}\nIts log is {log_file}.")

    def stop(self, timeout: float = 4) -> None:
        """Stop it and wait until it is gone; one that does not run is no error. After `timeout` seconds it is killed.

        Raises:
            OpsError: It cannot be ended.
        """
        for harshness in (signal.SIGTERM, signal.SIGKILL):
            send(self.running_processes(), harshness)
            if wait_until(lambda: not self.running_processes(), timeout):
                return
        raise OpsError(f"{self.name} in {self.folder} cannot be ended: look at its process.")
