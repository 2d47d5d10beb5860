"""Programs of PostgreSQL as ends of a stream: what one writes goes straight on, what another reads comes straight in.

Nothing lies on a disk in between and memory stays flat. No process outlives the call that started it.
"""

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from ops_workflows.errors import DatabaseError
from ops_workflows.settings import environment

_PIECE = 1024 * 1024
_LINES = 5  # of a program's complaint that are worth showing


@dataclass(frozen=True, slots=True)
class Ran:
    """A program that has ended.

    Attributes:
        code: Its exit code.
        out: What it wrote to standard output, unless that was streamed.
        complaint: The last lines of its standard error.
    """

    code: int
    out: str
    complaint: tuple[str, ...]

    def failure(self, name: str) -> DatabaseError:
        """The error that says so."""
        return DatabaseError(
            f"{name} failed (exit code {self.code}):\n  " + "\n  ".join(self.complaint or ("no word",))
        )


def drain(program: Path, *args: str | Path, into: Callable[[bytes], None], stall_seconds: float) -> Ran:
    """Run a program and hand on what it writes, piece by piece.

    Args:
        program: Its full path.
        args: Its arguments; a secret must not be among them.
        into: Takes each piece; while it is busy the program waits.
        stall_seconds: How long the program may write nothing before it is given up.

    Raises:
        DatabaseError: It failed or fell silent. What was handed on by then is worth nothing.
    """
    with TemporaryFile() as said, _group(program, args, stdout=subprocess.PIPE, stderr=said) as process:
        pipe = _fd(process.stdout)
        waiting = select.poll()
        waiting.register(pipe, select.POLLIN)
        while True:
            if not waiting.poll(stall_seconds * 1000):
                raise DatabaseError(
                    f"{program.name} wrote nothing for {stall_seconds:.0f} seconds and was ended: see what it waits "
                    "for in pg_stat_activity, or raise OPS_STALL_SECONDS."
                )
            piece = os.read(pipe, _PIECE)
            if not piece:
                break
            into(piece)
        ran = Ran(_wait(process, program, stall_seconds), "", _last_lines(said))
    if ran.code != 0:
        raise ran.failure(program.name)
    return ran


def feed(program: Path, *args: str | Path, source: Iterator[bytes], timeout: float) -> Ran:
    """Run a program and give it a stream on standard input, as much of it as it cares to read.

    Args:
        program: Its full path.
        args: Its arguments; a secret must not be among them.
        source: The stream; it is left where the program stopped reading.
        timeout: Seconds after which the program is ended.

    Returns:
        How it ended, well or not.

    Raises:
        DatabaseError: It took too long.
    """
    deadline = time.monotonic() + timeout
    with (
        TemporaryFile() as out,
        TemporaryFile() as said,
        _group(program, args, stdin=subprocess.PIPE, stdout=out, stderr=said) as process,
    ):
        pipe = _fd(process.stdin)
        os.set_blocking(pipe, False)
        waiting = select.poll()
        waiting.register(pipe, select.POLLOUT)
        with suppress(BrokenPipeError):  # it has read what it wanted, or has died: its exit code tells
            for piece in source:
                rest = memoryview(piece)
                while rest:
                    if not waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
                        raise DatabaseError(f"{program.name} was not done after {timeout:.0f} seconds and was ended.")
                    rest = rest[os.write(pipe, rest) :]
        if process.stdin is not None:
            process.stdin.close()
        code = _wait(process, program, max(0.0, deadline - time.monotonic()))
        out.seek(0)
        return Ran(code, out.read().decode(errors="replace"), _last_lines(said))


@contextmanager
def _group(
    program: Path,
    args: tuple[str | Path, ...],
    *,
    stdin: int = subprocess.DEVNULL,
    stdout: int | IO[bytes],
    stderr: IO[bytes],
) -> Iterator[subprocess.Popen[bytes]]:
    """Whatever ends the block, interruption included, the process and its children are gone after it."""
    with subprocess.Popen(
        [program, *args],
        bufsize=0,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=environment(LC_ALL="C.UTF-8"),
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _wait(process: subprocess.Popen[bytes], program: Path, timeout: float) -> int:
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        raise DatabaseError(f"{program.name} did not end in time and was ended.") from None


def _fd(pipe: IO[bytes] | None) -> int:
    if pipe is None:
        raise ValueError("the program was started without this pipe")
    return pipe.fileno()


def _last_lines(said: IO[bytes]) -> tuple[str, ...]:
    said.seek(0)
    return tuple(said.read().decode(errors="replace").strip().splitlines()[-_LINES:])
