"""`ops` and `dagster` as people run them: real processes with an environment of their own, never left running."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, chdir, contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from ops_workflows.settings import Settings

BIN = Path(sys.executable).parent
LONGEST = 120.0


@dataclass(frozen=True)
class Ended:
    """A process that has ended: its exit code (negative for a signal), what it said, and its peak memory."""

    code: int
    out: str
    err: str
    peak_bytes: int = 0

    @property
    def sentence(self) -> str:
        """What it said last, on one line."""
        return " ".join(self.err.split("ops: ")[-1].split())


def as_environment(settings: Settings) -> dict[str, str]:
    """The variables that make a process read the same settings."""
    found = {}
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if value is not None:
            plain = value.get_secret_value() if hasattr(value, "get_secret_value") else str(value)
            found[f"OPS_{name.upper()}"] = plain
    return found


@contextmanager
def started(
    *command: str | Path, folder: Path, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A process in a session of its own; the whole session is killed at the end."""
    program, *rest = command
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("OPS_", "PG", "AWS_", "DAGSTER"))
    }
    with subprocess.Popen(
        [str(BIN / program) if "/" not in str(program) else str(program), *map(str, rest)],
        cwd=folder,
        env=clean | dict(env or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def ended(process: subprocess.Popen[str], timeout: float = LONGEST) -> Ended:
    """Wait for a process, and read on the way what its memory came to."""
    peak = 0
    with ThreadPoolExecutor(1) as pool:
        said = pool.submit(process.communicate, timeout=timeout)
        while not said.done():
            peak = max(peak, _peak(process.pid))
            wait([said], 0.05)
        out, err = said.result()
    return Ended(process.returncode, out, err, peak)


def _peak(pid: int) -> int:
    """The most memory that a process has held so far, as the kernel knows it; 0 once it is gone."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def run(*command: str | Path, folder: Path, env: Mapping[str, str] | None = None, timeout: float = LONGEST) -> Ended:
    """Run a program to its end."""
    with started(*command, folder=folder, env=env) as process:
        return ended(process, timeout)


def ops_here(settings: Settings, folder: Path, *arguments: str | Path) -> Ended:
    """The same inside this process, which saves the second that Python and its imports take."""
    from ops_workflows.cli import main  # noqa: PLC0415 - not every test needs a terminal

    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OPS_", "PG", "AWS_"))}
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with ExitStack() as patched:
        for number in (signal.SIGINT, signal.SIGTERM):  # a command takes them to itself
            patched.callback(signal.signal, number, signal.getsignal(number))
        patched.enter_context(mock.patch.dict(os.environ, clean | as_environment(settings), clear=True))
        patched.enter_context(mock.patch.object(sys, "argv", ["ops", *map(str, arguments)]))
        patched.enter_context(chdir(folder))
        patched.enter_context(redirect_stdout(out))
        patched.enter_context(redirect_stderr(err))
        try:
            main()
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else int(left.code is not None)
    return Ended(code, out.getvalue(), err.getvalue())


def ops(settings: Settings, folder: Path, *arguments: str | Path, timeout: float = LONGEST) -> Ended:
    """Run `ops` with these settings in a folder that has no `.env`."""
    return run("ops", *arguments, folder=folder, env=as_environment(settings), timeout=timeout)
