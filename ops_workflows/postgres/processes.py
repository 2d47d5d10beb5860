"""Processes as the kernel knows them: by the program that they execute and the folder that they stand in.

A pid in a file may be stale or, after a while, somebody else's. The program file and the working folder of a process
are facts, so a service that was launched into a folder of its own is found again by any later process, and nothing
else is ever taken for it.
"""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from ops_workflows.postgres.account import Account, identity

POLL_SECONDS = 0.02

# The services that this process has launched and not yet reaped.
_children: set[int] = set()
_children_lock = threading.Lock()


def launch(
    command: Sequence[str],
    *,
    folder: Path,
    log_file: Path,
    account: Account | None,
    env: Mapping[str, str],
    stdin: bytes = b"",
) -> None:
    """Launch a service into `folder`; it lives on in a session of its own when we end.

    Args:
        command: The full path of its program, and its arguments; a secret must not be among them.
        folder: Its working folder, by which `standing_in` finds it again.
        log_file: What it writes to standard output and standard error is appended here.
        account: Whom it runs as; None means ourselves.
        env: Its whole environment.
        stdin: What to give it on standard input; at most a few KiB.
    """
    with log_file.open("ab") as log:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd=folder,
            env=env,
            start_new_session=True,
            **identity(account),
        )
    with _children_lock:
        _children.add(child.pid)
    child.returncode = 0  # it is meant to outlive this object, which otherwise complains of that when it is collected
    if child.stdin is not None:
        with suppress(BrokenPipeError), child.stdin:  # one that has died already says why in its log
            child.stdin.write(stdin)


def standing_in(folder: Path, programs: Collection[str]) -> list[psutil.Process]:
    """The living processes that execute a program named one of `programs` with `folder` as their working folder.

    Those count too that stand in a folder of that path which has been deleted under them.
    """
    _reap()
    places = {str(folder.resolve()), f"{folder.resolve()} (deleted)"}
    found = []
    for process in psutil.process_iter():
        # Those of other accounts cannot be looked into (they are not ours), and some end while we look.
        with suppress(psutil.Error, OSError):
            if process.cwd() in places:
                # psutil keeps a process object, and in it the program that it saw first: that of whoever forked it.
                now = psutil.Process(process.pid)
                if _program(now) in programs and now.is_running():
                    found.append(now)
    return found


def _reap() -> None:
    """Take note of the launched services that have died: until then, their pids look alive to everybody."""
    with _children_lock:
        for pid in list(_children):
            try:
                ended, _ = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                ended = pid
            if ended:
                _children.discard(pid)


def _program(process: psutil.Process) -> str:
    # A program file that an upgrade has replaced still counts, by the name that it had.
    return Path(process.exe()).name.removesuffix(" (deleted)")


def send(processes: Iterable[psutil.Process], signal: int) -> None:
    """Send `signal` to those of `processes` that still live; psutil makes sure that a reused pid is not hit."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal)


def wait_until(condition: Callable[[], bool], timeout: float) -> bool:
    """Whether `condition` comes true within `timeout` seconds; it is asked at least once, then every 20 ms."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def last_words(log_file: Path, since: int = 0, lines: int = 5) -> str:
    """The last lines of a log after its first `since` bytes, to be put into an error."""
    with suppress(FileNotFoundError), log_file.open("rb") as log:
        log.seek(since)
        said = log.read().decode(errors="replace").strip().splitlines()
        return "\n  ".join(said[-lines:]) or "nothing"
    return "nothing"


def size_of(log_file: Path) -> int:
    """How many bytes a log has now; 0 if there is none."""
    return log_file.stat().st_size if log_file.exists() else 0
