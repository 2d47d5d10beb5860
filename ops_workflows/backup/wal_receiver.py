"""The WAL receiver: everything the server writes to its log, into the bucket, as it is written.

It keeps no state of its own. Where to go on is what the server's slot says; what is there is what the bucket lists. The
slot moves only to where the bucket has acknowledged every byte, so a receiver can be killed at any moment.
"""

import os
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import wait
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

from ops_workflows.backup.preflight import dumps_only
from ops_workflows.backup.wal_follow import Following
from ops_workflows.backup.wal_resume import Resumption, another_history
from ops_workflows.backup.wal_shipper import Background, WalShipper
from ops_workflows.errors import DatabaseError, RefusedError, StorageError
from ops_workflows.postgres import wal_stream as protocol
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.postgres.replication import ReplicationConnection
from ops_workflows.progress import SILENT, Progress
from ops_workflows.repository.catalogue import Repository, open_repository
from ops_workflows.repository.reach import Histories, read_listing
from ops_workflows.repository.wal import WalListing, history_key
from ops_workflows.settings import Settings

_TAKEOVER_SECONDS = 8.0  # for the server to notice that a killed predecessor is gone
_RETRY_SECONDS = 1.0
_WATCH_SECONDS = 0.5
_LONGEST_RETRY_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Received:
    """How far a receiver came.

    Attributes:
        timeline: The last one.
        flushed: The bucket has everything up to here.
    """

    timeline: int
    flushed: Lsn


def receive_wal(settings: Settings, stop: threading.Event, progress: Progress = SILENT) -> None:
    """Receive until told to stop; a server or a network that goes away is waited for.

    Args:
        settings: Server, slot, bucket, and how often unfinished segments are shipped.
        stop: Ends it: what has come in is shipped first.
        progress: Hears of outages, of timelines, and of gaps.

    Raises:
        RefusedError: Another receiver is at work, or dumps are all there is to be.
        DatabaseError: The server cannot be had.
        StorageError: The bucket cannot. These three are raised at the first attempt only; later ones are waited for.
        IntegrityError: The bucket holds another cluster's WAL or history under the same name; nothing is replaced.
    """
    if reason := dumps_only(settings):
        raise RefusedError(reason)
    pause, ever_streamed = _RETRY_SECONDS, False
    while not stop.is_set():
        streamed = threading.Event()
        try:
            with _Receiver(settings, stop, progress, streamed) as receiver:
                receiver.run(until=None)
        except (DatabaseError, RefusedError, StorageError) as error:
            ever_streamed = ever_streamed or streamed.is_set()
            if stop.is_set():
                progress.say(str(error))
                return
            if not ever_streamed:
                raise
            pause = _RETRY_SECONDS if streamed.is_set() else min(2 * pause, _LONGEST_RETRY_SECONDS)
            progress.say(f"{error} Trying again.")
            stop.wait(pause)


def catch_up(settings: Settings, seconds: float, progress: Progress = SILENT) -> Received:
    """Bring the bucket up to everything that the server had flushed at the call.

    Where a receiver is at work already, it does just that, and is waited for.

    Args:
        settings: Server, slot and bucket.
        seconds: Longest that it may take.
        progress: Hears what deserves a sentence.

    Raises:
        RefusedError: Dumps are all there is to be.
        DatabaseError: It took too long, or the server went away.
        StorageError: The bucket cannot be had.
        IntegrityError: The bucket holds another cluster's WAL or history under the same name; nothing is replaced.
    """
    if reason := dumps_only(settings):
        raise RefusedError(reason)
    stop = threading.Event()
    timer = threading.Timer(seconds, stop.set)
    timer.daemon = True
    timer.start()
    try:
        with _Receiver(settings, stop, progress) as receiver:
            until = receiver.server_end
            try:
                received = receiver.run(until=until)
            except RefusedError:
                progress.say("A WAL receiver is at work, and is waited for.")
                received = receiver.wait_for_the_other(until)
    finally:
        timer.cancel()
    if received.flushed < until:
        raise DatabaseError(f"Only WAL up to {received.flushed} of {until} reached the bucket within {seconds:.0f} s.")
    return received


class _Receiver:
    """One connection's worth of receiving."""

    def __init__(
        self, settings: Settings, stop: threading.Event, progress: Progress, streamed: threading.Event | None = None
    ) -> None:
        self._settings = settings
        self._stop = stop
        self._progress = progress
        self._streamed = streamed or threading.Event()  # set once the server has begun to send
        self._connection = ReplicationConnection(
            settings.require("backup_dsn"),
            timeout=settings.connect_timeout_seconds,
            stall_seconds=settings.stall_seconds,
            application_name=settings.wal_application_name,
        )
        self._awake, self._wake = os.pipe()
        os.set_blocking(self._awake, False)
        os.set_blocking(self._wake, False)

    def __enter__(self) -> Self:
        with ExitStack() as undone:
            undone.push(self.__exit__)
            system = self._connection.identify()
            self._repository: Repository = open_repository(self._settings, system.identifier)
            # The shipper tries again by itself, and says that it does; the SDK would long be at it without a word.
            once = self._settings.model_copy(update={"s3_attempts": 1})
            self._shipped_to: Repository = open_repository(once, system.identifier)
            self._segment_bytes = self._ask_segment_bytes()
            self.server_end = system.flushed
            self._timeline = system.timeline
            undone.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.__exit__(None, None, None)
        os.close(self._awake)
        os.close(self._wake)

    def run(self, until: Lsn | None) -> Received:
        """Receive until `until` is safe, or until told to stop."""
        place = Resumption(
            self._settings, self._connection, self._segment_bytes, self._timeline, self._contents, self._progress
        ).find()
        at, timeline = place.at, place.timeline
        while True:
            self._keep_history(timeline)
            tailed = [segment for of, segment in place.tailed if of == timeline]
            ended, flushed = self._follow(timeline, Lsn(at - at % self._segment_bytes), until, tailed)
            if ended is None:
                return Received(timeline, flushed)
            self._progress.say(
                f"Timeline {timeline} ended at {ended.begins}: following timeline {ended.next_timeline}."
            )
            at, timeline = ended.begins, ended.next_timeline

    def wait_for_the_other(self, until: Lsn) -> Received:
        """Watch the slot, which another receiver moves, until it is there or we are told to stop."""
        while True:
            slot = protocol.read_slot(self._connection, self._settings.wal_slot)
            at = slot.restart if slot and slot.restart is not None else Lsn(0)
            if at >= until or self._stop.wait(_WATCH_SECONDS):
                return Received(slot.timeline or self._timeline if slot else self._timeline, at)

    def _ask_segment_bytes(self) -> int:
        ((value,),) = self._connection.query("SHOW wal_segment_size")
        units = {"MB": 2**20, "GB": 2**30, "kB": 2**10}
        text = str(value)
        return int(text[:-2]) * units[text[-2:]]

    def _contents(self) -> tuple[WalListing, Histories]:
        return self._asked(lambda: read_listing(self._repository, self._segment_bytes))

    def _keep_history(self, timeline: int) -> None:
        if timeline == 1:
            return
        _name, content = protocol.timeline_history(self._connection, timeline)
        store, key = self._repository.store, self._repository.layout.wal + history_key(timeline)
        try:
            self._asked(lambda: store.put(key, content, if_absent=True))
        except RefusedError:  # there already: a timeline's history never changes
            if self._asked(lambda: store.get(key)) != content:
                raise another_history(timeline) from None

    def _asked[T](self, question: Callable[[], T]) -> T:
        """What the bucket answers; without it we leave when told to stop."""
        background = Background(1)
        answer = background.submit(question)
        background.close()
        while wait([answer], _WATCH_SECONDS).not_done:
            if self._stop.is_set():
                raise StorageError(f"{self._repository.store} had not answered yet when the receiver had to stop.")
        return answer.result()

    def _follow(
        self, timeline: int, start: Lsn, until: Lsn | None, tailed: Collection[Lsn]
    ) -> tuple[protocol.TimelineEnded | None, Lsn]:
        stream = self._begin(start, timeline)
        self._streamed.set()
        shipper = WalShipper(
            self._shipped_to,
            timeline=timeline,
            start=start,
            segment_bytes=self._segment_bytes,
            level=self._settings.wal_zstd_level,
            progress=self._progress,
            wake=self._wake,
            tailed=tailed,
        )
        self._connection.wake = self._awake
        try:
            following = Following(
                stream,
                shipper,
                flush_seconds=self._settings.wal_flush_seconds,
                stall_seconds=self._settings.stall_seconds,
                stop=self._stop,
                awake=self._awake,
            )
            ended = following.until(until)
            if shipper.flushed < shipper.received:
                self._progress.say(f"WAL from {shipper.flushed} on waits in the slot: the bucket has not taken it yet.")
            return ended, shipper.flushed
        finally:
            self._connection.wake = None
            shipper.close(leave=self._stop)

    def _begin(self, start: Lsn, timeline: int) -> protocol.WalStream:
        deadline = time.monotonic() + _TAKEOVER_SECONDS
        while True:
            try:
                return protocol.WalStream(self._connection, self._settings.wal_slot, start, timeline)
            except RefusedError:
                if time.monotonic() > deadline or self._stop.wait(0.2):
                    raise
