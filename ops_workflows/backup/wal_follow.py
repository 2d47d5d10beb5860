"""The WAL receiver's inner loop over one timeline: take in what came, ship it, tell the server how far it is safe."""

import math
import os
import select
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field

from ops_workflows.backup.wal_shipper import WalShipper
from ops_workflows.errors import DatabaseError
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.postgres.wal_stream import KeepAlive, TimelineEnded, Wal, WalStream

_STATUS_SECONDS = 5.0  # between two words to the server, well below wal_sender_timeout's 60
_LISTEN_SECONDS = 1.0  # in which we hear that we are to stop, and look whether the server has been silent for too long
_LEAVE_SECONDS = 8.0  # for the last bytes to be acknowledged when we are told to stop


@dataclass
class Following:
    """One timeline being followed.

    Attributes:
        stream: Where WAL comes from.
        shipper: Where it goes.
        flush_seconds: Longest that WAL stays unshipped; 0 ships at once.
        stall_seconds: Silence after which the server is given up.
        stop: Ends it from another thread or a signal handler.
        awake: Gets a byte whenever the shipper has something acknowledged; read without blocking.
    """

    stream: WalStream
    shipper: WalShipper
    flush_seconds: float
    stall_seconds: float
    stop: threading.Event
    awake: int
    _reported: float = field(default_factory=time.monotonic)
    _shipped: float = field(default_factory=time.monotonic)
    _heard: float = field(default_factory=time.monotonic)
    _asked: bool = False
    _target: Lsn | None = None

    def until(self, target: Lsn | None) -> TimelineEnded | None:
        """Follow until the timeline ends, `target` is safe, or somebody says stop; the timeline's end if it was that.

        The end is given only once all of the timeline is safe: the next one's first report moves the slot over it.

        Raises:
            DatabaseError: The server went away or fell silent.
            IntegrityError: The bucket holds other WAL under the same name.
        """
        self._target = target
        # At once, because a new slot holds back nothing until it has heard from where on.
        self._tell()
        while not self.stop.is_set() and (target is None or self.shipper.flushed < target):
            ended = self._take_in()
            if self._tail_is_due():
                self.shipper.ship_tail()
                self._shipped = time.monotonic()
            self._report()
            if ended is not None:
                while not self._ship_all(_LEAVE_SECONDS):
                    if self.stop.is_set():
                        return None
                return ended
        self._ship_all(_LEAVE_SECONDS)
        self._tell()
        self.stream.close()
        return None

    def _take_in(self) -> TimelineEnded | None:
        if self.shipper.is_full():
            self._heard = time.monotonic()  # it may have much to say: it is we who do not listen
            self._wait_for_acknowledgement(_LISTEN_SECONDS)
            return None
        reply_now = False
        for message in self.stream.messages(self._patience()):
            self._heard, self._asked = time.monotonic(), False
            match message:
                case Wal(start, content, all_until):
                    self.shipper.add(start, content, all_until)
                case KeepAlive(_, wanted):
                    reply_now = reply_now or wanted
                case TimelineEnded():
                    return message
            if self.shipper.is_full():
                break
        self._check_silence()
        if reply_now:
            self._report(now=True)
        return None

    def _patience(self) -> float:
        if not self.shipper.has_tail or self.shipper.tail_under_way:
            return _LISTEN_SECONDS
        return max(0.0, min(_LISTEN_SECONDS, self._seconds_until_tail()))

    def _tail_is_due(self) -> bool:
        return self.shipper.has_tail and self._seconds_until_tail() <= 0

    def _seconds_until_tail(self) -> float:
        if self._target is not None:
            # Whoever catches up wants to be there, not to wait for more; before that, the segments are whole anyway.
            return 0 if self.shipper.received >= self._target else math.inf
        return self._shipped + self.flush_seconds - time.monotonic()

    def _report(self, *, now: bool = False) -> None:
        with suppress(BlockingIOError):
            os.read(self.awake, 4096)
        moved = self.shipper.acknowledge()
        if moved or now or time.monotonic() >= self._reported + _STATUS_SECONDS:
            self._tell()
            self._reported = time.monotonic()

    def _tell(self, *, reply_now: bool = False) -> None:
        # What the bucket does not have counts as not even received: then synchronous_commit = remote_write waits, too.
        self.stream.report(self.shipper.flushed, self.shipper.flushed, reply_now=reply_now)

    def _check_silence(self) -> None:
        silent = time.monotonic() - self._heard
        if silent > self.stall_seconds:
            raise DatabaseError(f"The server has been silent for {silent:.0f} s in the WAL stream: given up.")
        if silent > self.stall_seconds / 2 and not self._asked:
            self._tell(reply_now=True)
            self._asked = True

    def _ship_all(self, seconds: float) -> bool:
        """Ship what has come in and wait until it is safe, for so long at most; whether it is."""
        deadline = time.monotonic() + seconds
        while self.shipper.flushed < self.shipper.received:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self.shipper.ship_tail()
            self._wait_for_acknowledgement(min(left, _LISTEN_SECONDS))
            self._report()
        return True

    def _wait_for_acknowledgement(self, seconds: float) -> None:
        select.select([self.awake], [], [], seconds)
