"""`ops`, ended with -9 by itself at one of its calls to the bucket: before it is sent, or once it has been answered.

Each is forked from one process that has read all the code, so that a sweep over hundreds of calls need not wait for as
many starts of Python. The call is met where the SDK sends it, each try and each page for itself.
"""

import gc
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import parse_qsl, unquote, urlsplit

from ops_workflows.settings import Settings
from tests.support.command import Ended, as_environment

_NAMES = re.compile(r"\d{8}T\d{6}(?:\.\d+)?Z(?:-[0-9a-f]{4}\b)?|[0-9A-Fa-f]{8,}|\d+")
_VERSION = b"<VersionId>"
_DELETED = re.compile(rb"<Key>(.*?)</Key>")


@dataclass(frozen=True)
class Moment:
    """A call, and on which side of it.

    Attributes:
        kind: Of the call, as `kind_of` says it.
        nth: Counted from 0, among those of the kind.
        answered: Once it has been answered, and not before it is sent.
    """

    kind: str
    nth: int
    answered: bool


@dataclass(frozen=True)
class Fate(Ended):
    """What became of a process.

    Attributes:
        seen: The kinds of its calls to the bucket, in turn.
        killed: Whether it came to its moment.
    """

    seen: tuple[str, ...] = ()
    killed: bool = False


class Doomed:
    """One process after the other."""

    def __init__(self, mother: subprocess.Popen[str]) -> None:
        self._mother = mother

    def ops(self, settings: Settings, folder: Path, *command: str | Path, at: Moment | None = None) -> Fate:
        """Run a command; without a moment, to its end."""
        with tempfile.TemporaryDirectory() as said:
            order = {
                "env": as_environment(settings),
                "folder": str(folder),
                "command": [str(word) for word in command],
                "said": said,
                "at": None if at is None else [at.kind, at.nth, at.answered],
            }
            assert self._mother.stdin is not None
            assert self._mother.stdout is not None
            self._mother.stdin.write(f"{json.dumps(order)}\n")
            self._mother.stdin.flush()
            code = int(self._mother.stdout.readline())
            out, err, seen = ((Path(said) / name).read_text() for name in ("out", "err", "seen"))
        return Fate(code, out, err, seen=tuple(seen.splitlines()), killed=code == -signal.SIGKILL)


@contextmanager
def doomed(settings: Settings) -> Iterator[Doomed]:
    """For the length of a `with`; nothing of it is left."""
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("OPS_", "PG", "AWS_", "DAGSTER"))
    }
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.doomed"],
        cwd=Path(__file__).parents[2],
        env=clean | as_environment(settings),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as mother:
        try:
            yield Doomed(mother)
        finally:
            os.killpg(mother.pid, signal.SIGKILL)


def kind_of(method: str, url: str, body: bytes) -> str:
    """What is asked of which sort of object: the call without ids, numbers and times; of a listing not even where."""
    parts = urlsplit(url)
    _, _, key = unquote(parts.path).lstrip("/").partition("/")
    asked = "&".join(name for name, _ in parse_qsl(parts.query, keep_blank_values=True))
    sorts = {_NAMES.sub("*", name) for name in (key, *map(bytes.decode, _DELETED.findall(body))) if name}
    if _VERSION in body:  # of whatever has been deleted by then
        sorts = {f"versions in {'/'.join(sort.split('/')[:3])}" for sort in sorts}
    return " ".join(word for word in (method, asked and f"?{asked}", *sorted(sorts)) if word)


def _mother() -> None:
    """Fork a process for each line; say how it ended."""
    _read_all_the_code()
    gc.freeze()  # so that nobody's collector touches, and thereby copies, what they share
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _become(json.loads(line))
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _read_all_the_code() -> None:
    from ops_workflows.backup import mirror, retain  # noqa: F401, PLC0415
    from ops_workflows.cli import render  # noqa: F401, PLC0415
    from ops_workflows.proof import drill  # noqa: F401, PLC0415
    from ops_workflows.storage.store import open_store  # noqa: PLC0415

    open_store(Settings.read())  # the SDK reads long tables at the first client


def _become(order: dict[str, Any]) -> NoReturn:
    """Be `ops` from here on."""
    from ops_workflows.cli import main  # noqa: PLC0415

    said, write = Path(order["said"]), os.O_WRONLY | os.O_CREAT
    for handle, where, how in ((0, Path(os.devnull), os.O_RDONLY), (1, said / "out", write), (2, said / "err", write)):
        os.dup2(os.open(where, how), handle)
    for name in [name for name in os.environ if name.startswith("OPS_")]:
        del os.environ[name]
    os.environ |= order["env"]
    os.chdir(order["folder"])
    sys.argv = ["ops", *order["command"]]
    _end_at(Moment(*order["at"]) if order["at"] else None, os.open(said / "seen", write))
    code = 0
    try:
        main()
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException:  # noqa: BLE001 - it ends in this way without us, too
        traceback.print_exc()
        code = 1
    # The interpreter would now take apart all the code that has been read, which takes longer than most commands.
    threading._shutdown()  # type: ignore[attr-defined]
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def _end_at(at: Moment | None, seen: int) -> None:
    """Note each call from here on in a file, and end at that one."""
    from botocore.awsrequest import AWSPreparedRequest, AWSResponse  # noqa: PLC0415
    from botocore.httpsession import URLLib3Session  # noqa: PLC0415

    send, lock, nth = URLLib3Session.send, threading.Lock(), count()

    def sent(self: URLLib3Session, request: AWSPreparedRequest) -> AWSResponse:
        body = request.body if isinstance(request.body, bytes) and request.method == "POST" else b""
        kind = kind_of(request.method, request.url, body)
        with lock:
            os.write(seen, f"{kind}\n".encode())
            ending = at if at is not None and at.kind == kind and at.nth == next(nth) else None
        if ending and not ending.answered:
            os.kill(os.getpid(), signal.SIGKILL)
        answer = send(self, request)
        if ending:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    URLLib3Session.send = sent  # type: ignore[assignment, method-assign]


if __name__ == "__main__":
    _mother()
