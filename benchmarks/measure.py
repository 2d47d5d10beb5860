"""One run of a program: how long it took as a whole process, and how much memory its largest process had."""

import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from ops_workflows.errors import OpsError
from ops_workflows.postgres.account import Account, identity

TIMEOUT_SECONDS = 1800
_LAST_LINES = 8
_LEAVE_SECONDS = 60


class BenchmarkError(OpsError):
    """The benchmark cannot be run, or one of its programs failed."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run took.

    Attributes:
        seconds: From its start to its end, by the wall clock.
        peak_bytes: Resident memory of its largest process at its largest, as the kernel counted it.
        cpu_seconds: Of all its processes together.
        output: What it wrote to standard output.
    """

    seconds: float
    peak_bytes: int
    cpu_seconds: float
    output: str


def measure(
    command: Sequence[str | Path], *, log: Path, account: Account | None = None, env: Mapping[str, str] | None = None
) -> Measured:
    """Run a program to its end, and measure it.

    Args:
        command: The program and its arguments; a secret must not be among them.
        log: A new file for what it writes to standard output; standard error goes beside it, into `….err`.
        account: Whom it runs as; None means ourselves.
        env: Its whole environment; None means ours.

    Raises:
        BenchmarkError: It failed, or was not done in half an hour; no process of its group is left.
    """
    errors = log.with_name(f"{log.name}.err")
    with log.open("wb") as out, errors.open("wb") as err:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd="/", env=env, start_new_session=True,
            **identity(account),
        )  # fmt: skip
        try:
            _wait_for_end(process.pid)
            seconds = time.perf_counter() - began
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what it may have left behind, or itself after the timeout
            # wait4 counts the process and those that it has waited for; Popen's own wait would drop that.
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        said = (errors.read_text(errors="replace") + log.read_text(errors="replace")).strip().splitlines()
        name = Path(command[0]).name
        raise BenchmarkError(f"{name} failed (exit code {process.returncode}):\n  " + "\n  ".join(said[-_LAST_LINES:]))
    cpu_seconds = usage.ru_utime + usage.ru_stime
    return Measured(seconds, usage.ru_maxrss * 1024, cpu_seconds, log.read_text(errors="replace"))


@contextmanager
def service(command: Sequence[str | Path], *, log: Path, env: Mapping[str, str]) -> Iterator[psutil.Process]:
    """A program that works for the length of a `with`, and is then asked to leave.

    Raises:
        BenchmarkError: It left before, or not when asked, or with an error.
    """
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/", env=env)
        try:
            yield psutil.Process(process.pid)
            process.terminate()
            code: int | None = process.wait(_LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            process.kill()
            process.wait()
    if code != 0:
        said = log.read_text(errors="replace").strip().splitlines()
        raise BenchmarkError(f"{command} failed (exit code {code}):\n  " + "\n  ".join(said[-_LAST_LINES:]))


def _wait_for_end(pid: int) -> None:
    """Wait for a child without reaping it; a pidfd becomes readable when it ends."""
    handle = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        if not poll.poll(TIMEOUT_SECONDS * 1000):
            raise BenchmarkError(f"Process {pid} was not done after {TIMEOUT_SECONDS} seconds and was ended.")
    finally:
        os.close(handle)
