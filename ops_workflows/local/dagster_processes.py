"""Dagster's own programs over the embedded stack: jobs run to their end, the webserver and the daemon kept running.

Each is told in its environment which folder it works for. By that mark, which its own children inherit, all of them are
found again, also after the command that started them was killed.
"""

import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from ops_workflows.errors import OpsError
from ops_workflows.postgres.processes import last_words, send, wait_until
from ops_workflows.settings import dotenv, environment

_MARK = "OPS_DEV_FOLDER"
_STOP_SECONDS = 30
_CLEAN_UP_SECONDS = 60


def run_job(folder: Path, job: str, timeout: float) -> Path:
    """Run a Dagster job as a person would, with `dagster job execute`, and wait for its end.

    Returns:
        Its log.

    Raises:
        OpsError: It failed; with its last words.
    """
    log_file = folder / ".ops" / "logs" / f"{job}.log"
    command = [_program("dagster"), "job", "execute", "-m", "ops_workflows.definitions", "-j", job]
    with log_file.open("wb") as log:
        # In a session of its own: a second interruption, Ctrl-C's beside ours, would break off its cleaning up.
        process = subprocess.Popen(
            command, cwd=folder, env=_env(folder), stdout=log, stderr=log, start_new_session=True
        )
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise OpsError(f"Job {job} was not done after {timeout:.0f} s. Its log is {log_file}.") from None
        finally:
            if process.poll() is None:
                _interrupt(process)
    if code:
        raise OpsError(f"Job {job} failed (exit code {code}):\n  {last_words(log_file)}\nIts log is {log_file}.")
    return log_file


def _interrupt(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)  # Dagster then lets the op clean up
    try:
        process.wait(_CLEAN_UP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def start(folder: Path, name: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start one of Dagster's programs in the background; it logs into `.ops/logs`."""
    with (folder / ".ops" / "logs" / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            [_program(name), *arguments],
            cwd=folder,
            env=_env(folder),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C at the terminal is ours to pass on, once, in order
        )


def stop_all(folder: Path) -> int:
    """Stop every Dagster process that works for this folder and wait until all are gone; how many there were.

    Raises:
        OpsError: One of them cannot be ended.
    """
    found = _working_for(folder)
    for harshness in (signal.SIGINT, signal.SIGKILL):
        send(_working_for(folder), harshness)
        if wait_until(lambda: not _working_for(folder), _STOP_SECONDS):
            return len(found)
    pids = ", ".join(str(process.pid) for process in _working_for(folder))
    raise OpsError(f"Processes of Dagster cannot be ended (pid {pids}): look at them.")


def _working_for(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        # Those of other accounts cannot be looked into (they are not ours), and some end while we look.
        with suppress(psutil.Error, OSError):
            if process.environ().get(_MARK) == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return [process for process in found if process.pid != psutil.Process().pid]


def _env(folder: Path) -> dict[str, str]:
    return environment(**dotenv(folder) | {"DAGSTER_HOME": str(folder), _MARK: str(folder)})


def _program(name: str) -> str:
    return str(Path(sys.executable).with_name(name))
