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
_LEAVE_SECONDS = 10.0  # for the last bytes to be acknowledged when we are told to stop


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

        Raises:
            DatabaseError: The server went away or fell silent.
            IntegrityError: The bucket holds other WAL under the same name.
        """
        self._target = target
        # At once, because a new slot holds back nothing until it has heard from where on.
        self.stream.report(self.shipper.received, self.shipper.flushed)
        while not self.stop.is_set() and (target is None or self.shipper.flushed < target):
            ended = self._take_in()
            if self._tail_is_due():
                self.shipper.ship_tail()
                self._shipped = time.monotonic()
            self._report()
            if ended is not None:
                self._ship_all(None)
                return ended
        self._ship_all(_LEAVE_SECONDS)
        self.stream.report(self.shipper.received, self.shipper.flushed)
        self.stream.close()
        return None

    def _take_in(self) -> TimelineEnded | None:
        if self.shipper.is_full():
            self._heard = time.monotonic()  # it may have much to say: it is we who do not listen
            self._wait_for_acknowledgement(_STATUS_SECONDS)
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
        longest = min(_STATUS_SECONDS, self.stall_seconds / 4)  # so that silence is asked about before it is too long
        if not self.shipper.has_tail or self.shipper.tail_under_way:
            return longest
        return max(0.0, min(longest, self._seconds_until_tail()))

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
            self.stream.report(self.shipper.received, self.shipper.flushed)
            self._reported = time.monotonic()

    def _check_silence(self) -> None:
        silent = time.monotonic() - self._heard
        if silent > self.stall_seconds:
            raise DatabaseError(f"The server has been silent for {silent:.0f} s in the WAL stream: given up.")
        if silent > self.stall_seconds / 2 and not self._asked:
            self.stream.report(self.shipper.received, self.shipper.flushed, reply_now=True)
            self._asked = True

    def _ship_all(self, seconds: float | None) -> None:
        """Ship what has come in and wait until it is safe, for so long at most; None waits until somebody says stop."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while self.shipper.flushed < self.shipper.received:
            self.shipper.ship_tail()
            self._wait_for_acknowledgement(1)
            self._report()
            if (deadline is None and self.stop.is_set()) or (deadline is not None and time.monotonic() > deadline):
                return

    def _wait_for_acknowledgement(self, seconds: float) -> None:
        select.select([self.awake], [], [], seconds)
