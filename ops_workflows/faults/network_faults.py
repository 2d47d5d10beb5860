"""Faults on the way to the bucket: a server that fails, is slow, breaks off, or gives other bytes than it lists."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from random import Random
from threading import Lock
from urllib.parse import unquote

from ops_workflows.faults.kinds import Fault, Made, SkippedError
from ops_workflows.faults.look import BackupLook
from ops_workflows.faults.proxy import Answer, Spoil, failing, proxy
from ops_workflows.faults.stage import Stage
from ops_workflows.repository.layout import MANIFEST, RECORD
from ops_workflows.repository.rungs import Rung
from ops_workflows.settings import Settings

_FAMILY = "network"
_SLOW_SECONDS = 5.0
_TIMEOUT_SECONDS = 1
_ARCHIVE = "base.tar"
_SEVERAL = 3


def faults() -> list[Fault]:
    """All of them."""
    down, busy = failing(500, "InternalError"), failing(503, "SlowDown")
    denied, lost = failing(403, "AccessDenied"), failing(404, "NoSuchKey")
    return [
        _fault("S3: answers 500", Rung.STORED, everything, down, RECORD, fast=True),
        _fault("S3: answers 503", Rung.STORED, everything, busy, RECORD),
        _fault("S3: refuses our key", Rung.STORED, everything, denied, RECORD),
        _fault("S3: slower than the timeout", Rung.STORED, everything, _slow, RECORD),
        _fault("S3: resets the connection", Rung.STORED, everything, _reset, RECORD),
        _fault("S3: 500 for the archive", Rung.CHECKSUMMED, _reading(_ARCHIVE), down, _ARCHIVE),
        _fault("S3: half of the archive's bytes", Rung.CHECKSUMMED, _reading(_ARCHIVE), _half, _ARCHIVE),
        _fault("S3: half of them, and says that was all", Rung.CHECKSUMMED, _reading(_ARCHIVE), _short, _ARCHIVE),
        _fault("S3: the archive is listed and cannot be read", Rung.CHECKSUMMED, _reading(_ARCHIVE), lost, _ARCHIVE),
        _fault("S3: silent in the middle of the manifest", Rung.CHECKSUMMED, _reading(MANIFEST), _slow, MANIFEST),
        _fault("S3: other bytes of the archive than it lists", Rung.CHECKSUMMED, _reading(_ARCHIVE), _flip, _ARCHIVE),
        _fault("S3: other bytes of the manifest than it lists", Rung.CHECKSUMMED, _reading(MANIFEST), _flip, MANIFEST),
        _fault(
            "S3: the log is listed and cannot be read", Rung.EXACT, _reading("/wal/00000002/"), lost, "/wal/00000002/"
        ),
        _fault("S3: half of a segment's bytes", Rung.EXACT, _reading("/wal/00000002/"), _half, "/wal/00000002/"),
    ]


@contextmanager
def looking_through(stage: Stage, spoil: Spoil, **more: int) -> Iterator[BackupLook]:
    """A look through a proxy that spoils answers, for the length of a `with`.

    Args:
        stage: Where.
        spoil: What it makes of them.
        more: Further settings.

    Raises:
        SkippedError: There is no bucket, or the way to it is encrypted.
    """
    settings = stage.scene.settings
    url = _endpoint(settings)
    with proxy(url, spoil) as through:
        own = settings.model_copy(update={"s3_endpoint_url": through} | more)
        yield stage.look(settings=own)


def now_and_then(how: Callable[[Answer], Answer]) -> Spoil:
    """Only every third answer to a reading question is spoilt."""
    number, lock = count(1), Lock()

    def spoil(question: str, answer: Answer) -> Answer:
        if not everything(question):
            return answer
        with lock:
            return how(answer) if next(number) % _SEVERAL == 0 else answer

    return spoil


def _endpoint(settings: Settings) -> str:
    if settings.repository_folder is not None:
        raise SkippedError("The repository is a folder: there is no network in between.")
    url = settings.s3_endpoint_url
    if url is None or not url.startswith("http://"):
        raise SkippedError(f"The way to {url or 'AWS'} is encrypted, so that nothing can be put in between.")
    return url


def _fault(
    kind: str,
    must: str,
    when: Callable[[str], bool],
    how: Callable[[Answer], Answer],
    word: str,
    *,
    fast: bool = False,
) -> Fault:
    @contextmanager
    def make(stage: Stage, _chance: Random) -> Iterator[Made]:
        def spoil(question: str, answer: Answer) -> Answer:
            return how(answer) if when(question) else answer

        with looking_through(stage, spoil, s3_attempts=1, s3_timeout_seconds=_TIMEOUT_SECONDS) as look:
            yield Made(look, (word,))

    return Fault(kind, _FAMILY, must, make, fast)


def everything(question: str) -> bool:
    """Whether something is read: what the climb writes down is let through."""
    return question.startswith(("GET ", "HEAD "))


def _reading(part: str) -> Callable[[str], bool]:
    def when(question: str) -> bool:
        path = unquote(question.partition("?")[0])
        return path.startswith("GET ") and part in path and path.count("/") > 2  # noqa: PLR2004 - not a listing

    return when


def _slow(answer: Answer) -> Answer:
    return replace(answer, seconds=_SLOW_SECONDS)


def _reset(answer: Answer) -> Answer:
    return replace(answer, reset=True)


def _half(answer: Answer) -> Answer:
    return replace(answer, sent=len(answer.body) // 2)


def _short(answer: Answer) -> Answer:
    return replace(answer, body=answer.body[: len(answer.body) // 2])


def _flip(answer: Answer) -> Answer:
    middle = len(answer.body) // 2
    return replace(answer, body=answer.body[:middle] + bytes([answer.body[middle] ^ 1]) + answer.body[middle + 1 :])
