"""WAL into the bucket: bytes come in order, are cut into segments, and are safe once the bucket has acknowledged them.

Memory is bounded: while three finished segments are under way, `is_full` says so, and whoever reads the server's stream
stops reading. The bucket may be away for as long as it likes: each object is tried again until it is there.
"""

import hashlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from queue import SimpleQueue

from ops_workflows.errors import IntegrityError, RefusedError, StorageError
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.progress import Progress
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.wal import ALL_UNTIL, DIGEST, SUFFIX, UNKNOWN, segment_key, tail_key
from ops_workflows.storage.codec import compress
from ops_workflows.storage.encryption import SUFFIX as AGE

_THREADS = 2
_UNDER_WAY = 3  # finished segments: one waits, so that no thread does when the other's takes long
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 10.0
_WATCH_SECONDS = 0.2


class Background:
    """Threads that do what they are given, in turn, and that the end of the process does not wait for, as for a pool's.

    A bucket that has fallen silent holds up a call for a minute, and whoever is told to stop has not so long.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._given: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        for _ in range(threads):
            threading.Thread(target=self._work, name="bucket", daemon=True).start()

    def submit[T](self, work: Callable[[], T]) -> Future[T]:
        """What comes of it, or is raised by it; cancelled if nobody has begun with it by then."""
        done: Future[T] = Future()

        def carry_out() -> None:
            if not done.set_running_or_notify_cancel():
                return
            try:
                done.set_result(work())
            except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
                done.set_exception(error)

        self._given.put(carry_out)
        return done

    def close(self) -> None:
        """End the threads once they have done what they were given."""
        for _ in range(self._threads):
            self._given.put(None)

    def _work(self) -> None:
        while (work := self._given.get()) is not None:
            work()
            del work  # a segment's bytes, until the next may come


@dataclass(frozen=True, slots=True)
class _Sent:
    end: Lsn
    done: Future[None]
    whole: bool


class WalShipper:
    """Ships one timeline's WAL from the beginning of a segment on.

    Args:
        repository: Where to.
        timeline: Which.
        start: The first byte's place, at the beginning of a segment.
        segment_bytes: The cluster's wal_segment_size.
        level: Of zstd.
        progress: Hears of outages of the bucket and of their end.
        wake: A file descriptor that gets a byte whenever something has been acknowledged.
        tailed: Where segments begin of which a predecessor has left tails in the bucket.
    """

    def __init__(
        self,
        repository: Repository,
        *,
        timeline: int,
        start: Lsn,
        segment_bytes: int,
        level: int,
        progress: Progress,
        wake: int,
        tailed: Iterable[Lsn] = (),
    ) -> None:
        self._repository = repository
        self._timeline = timeline
        self._segment_bytes = segment_bytes
        self._level = level
        self._progress = progress
        self._wake = wake
        self._stop = threading.Event()
        self._background = Background(_THREADS)
        self._closed = False
        self._closing = threading.Lock()  # nobody is woken up once we are closed: then `wake` may be another file
        self._sent: deque[_Sent] = deque()
        self._segment = bytearray()
        self._segment_start = start
        self._all_until: datetime | None = None  # the newest such time, for a place in what has come in
        self._shipped = start  # everything up to here is under way or safe
        # Where segments begin that may have tails. The first may in any case: a killed predecessor's can still come.
        self._tailed = {start, *tailed}
        self.flushed = start
        self.received = start

    def is_full(self) -> bool:
        """Whether so much is under way that no more may be taken in."""
        return sum(sent.whole for sent in self._sent) >= _UNDER_WAY

    @property
    def has_tail(self) -> bool:
        """Whether bytes have come in that are not even under way."""
        return self._shipped < self.received

    @property
    def tail_under_way(self) -> bool:
        """Whether bytes of an unfinished segment are being sent."""
        return any(not sent.whole for sent in self._sent)

    def add(self, start: Lsn, content: memoryview, all_until: datetime | None) -> None:
        """Take the next bytes.

        Args:
            start: Their place.
            content: They.
            all_until: When the server had nothing beyond them; None if it had.

        Raises:
            IntegrityError: They are not the next.
        """
        if start != self.received:
            raise IntegrityError(f"The server sent WAL from {start} where {self.received} comes next: given up.")
        view = content
        while view:
            part = view[: self._segment_bytes - len(self._segment)]
            self._segment += part
            view = view[len(part) :]
            if all_until is not None and not view:
                self._all_until = all_until  # until the next it stays true: what comes now lies behind that place
            self.received = Lsn(self.received + len(part))
            if len(self._segment) == self._segment_bytes:
                self._ship_segment()

    def ship_tail(self) -> None:
        """Send what has come in of the unfinished segment and is not under way, unless a tail is under way already."""
        if not self.has_tail or self.tail_under_way:
            return
        name = tail_key(self._timeline, self._shipped, self.received, self._segment_bytes)
        body = bytes(memoryview(self._segment)[self._shipped - self._segment_start :])
        key = self._repository.layout.wal + name
        self._tailed.add(self._segment_start)
        self._submit(partial(self._put, key, body, self._known()), self.received, whole=False)

    def acknowledge(self) -> bool:
        """Look at what has been acknowledged since; whether `flushed` has moved.

        Raises:
            IntegrityError: A segment is in the bucket already, with other content.
        """
        before = self.flushed
        while self._sent and self._sent[0].done.done():
            sent = self._sent.popleft()
            sent.done.result()
            self.flushed = max(self.flushed, sent.end)
        return self.flushed > before

    def close(self, leave: threading.Event | None = None) -> None:
        """Begin nothing more, try nothing again, and wait for the calls that are under way, or until `leave` is set."""
        self._stop.set()
        under_way = [sent.done for sent in self._sent if not sent.done.cancel()]
        self._background.close()
        while wait(under_way, _WATCH_SECONDS).not_done and not (leave is not None and leave.is_set()):
            pass
        with self._closing:
            self._closed = True

    def _ship_segment(self) -> None:
        key = self._repository.layout.wal + segment_key(self._timeline, self._segment_start, self._segment_bytes)
        tails = [sent.done for sent in self._sent if not sent.whole] if self._segment_start in self._tailed else None
        self._submit(partial(self._put_segment, key, self._segment, self._known(), tails), self.received, whole=True)
        self._tailed.discard(self._segment_start)
        self._segment = bytearray()
        self._segment_start = self.received

    def _submit(self, work: Callable[[], None], end: Lsn, *, whole: bool) -> None:
        done = self._background.submit(work)
        done.add_done_callback(self._wake_up)
        self._sent.append(_Sent(end, done, whole))
        self._shipped = end

    def _wake_up(self, _: Future[None]) -> None:
        with self._closing:
            if not self._closed:
                os.write(self._wake, b".")

    def _known(self) -> dict[str, str]:
        return {ALL_UNTIL: self._all_until.isoformat() if self._all_until else UNKNOWN}

    def _put(self, key: str, body: bytes, known: dict[str, str]) -> None:
        stored, key = self._prepare(body), key + self._repository.keys.suffix
        known |= {DIGEST: hashlib.sha256(body).hexdigest()}
        self._insist(lambda: self._repository.store.put(key, stored, metadata=known), key)

    def _put_segment(self, key: str, body: bytearray, known: dict[str, str], tails: list[Future[None]] | None) -> None:
        digest, stored = hashlib.sha256(body).hexdigest(), self._prepare(body)
        body.clear()  # however long the bucket is away, a segment waits in one form only
        self._insist(partial(self._put_once, key, digest, stored, known), key)
        if tails is None:
            return
        # Only now: until the whole segment is safe, its tails are all there is of it. And none may still be coming.
        wait(tails)
        store, folder = self._repository.store, f"{key.removesuffix(SUFFIX)}.tail/"
        self._insist(lambda: store.delete(found.key for found in store.objects(folder)), key)

    def _prepare(self, body: bytes | bytearray) -> bytes:
        return self._repository.keys.seal(compress(body, self._level))

    def _put_once(self, plain_key: str, digest: str, stored: bytes, known: dict[str, str]) -> None:
        key = plain_key + self._repository.keys.suffix
        # Encryption may have been switched on or off since an earlier receiver stored it.
        if self._is_there(plain_key if key != plain_key else plain_key + AGE, digest):
            return
        try:
            self._repository.store.put(key, stored, if_absent=True, metadata=known | {DIGEST: digest}, lock=True)
        except RefusedError:
            if not self._is_there(key, digest):
                raise StorageError(f"{key} was in the bucket a moment ago and is not now.") from None

    def _is_there(self, key: str, digest: str) -> bool:
        found = self._repository.store.head(key)
        if found is None:
            return False
        there = found.metadata.get(DIGEST) or hashlib.sha256(self._repository.log(key)).hexdigest()
        if there != digest:
            raise IntegrityError(
                f"{key} is in the bucket with other content than the server has now: two clusters with the same "
                "system identifier and timeline archive into one place. Nothing was replaced; stop one of them."
            )
        return True

    def _insist(self, call: Callable[[], object], key: str) -> None:
        pause, away = _FIRST_PAUSE_SECONDS, False
        while True:
            try:
                call()
            except StorageError as error:
                if self._stop.is_set():
                    raise
                if not away:
                    self._progress.say(f"WAL waits in the slot while the bucket does not take it: {error}")
                away = True
                self._stop.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            else:
                if away and not self._stop.is_set():
                    self._progress.say(f"The bucket takes WAL again: {key} is stored.")
                return
