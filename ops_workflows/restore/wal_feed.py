"""WAL for a recovering server: fetched from the bucket ahead of it, handed over one segment at a time.

The server asks for segments through its `restore_command`, a few lines of shell: one that we know of, it waits for and
takes; any other does not exist, which it hears at once. We stay a few segments ahead, so the disk holds only those,
however much WAL there is to replay; and fetching begins while the base backup is still being extracted. A server that
waits for us ends by itself once we have been killed.
"""

import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from ops_workflows.errors import OpsError
from ops_workflows.postgres.account import Account, hand_over
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.postgres.processes import wait_until
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.reach import Reach
from ops_workflows.repository.wal import WalListing, history_key
from ops_workflows.repository.way import Segment, read_piece, segments

_AHEAD = 16  # segments on the disk that the server has not taken yet
_FATAL = 200  # an exit code above 125 makes recovery stop, and not take the end of WAL for the end of the way
_BEAT_SECONDS = 5.0
_SILENT_SECONDS = 60.0  # without a beat, after which the server gives us up
_POLL_SECONDS = 0.02

# $1 is the name that the server wants, $2 where to. History files are asked for again and again. A segment that is
# asked for a second time is in pg_wal by then, where the server looks when we have none. We may have been killed: that
# is told by our beats, which are counted in looks, for a clock may be set and the age of a file is not portable.
_COMMAND = """#!/bin/sh
here=$PWD
cd {folder} || exit {fatal}
grep -qxF -- "$1" known || exit 1
[ -e "taken/$1" ] && exit 1
heard='' left={looks}
until [ -e "ready/$1" ]; do
    [ -e failed ] && exit {fatal}
    [ -e alive ] || exit {fatal}
    read -r beat <alive || beat=''
    if [ "$beat" = "$heard" ]; then left=$((left - 1)); else heard=$beat left={looks}; fi
    [ "$left" -gt 0 ] || exit {fatal}
    sleep {pause}
done
case "$1" in *.history) exec cp -- "ready/$1" "$here/$2" ;; esac
: >"taken/$1"
exec mv -- "ready/$1" "$here/$2"
"""


class WalFeed:
    """The segments and history files of one way forward.

    Attributes:
        folder: Private to the server's account; `restore` in it is the restore_command's program.
    """

    def __init__(
        self,
        repository: Repository,
        reach: Reach,
        listing: WalListing,
        folder: Path,
        *,
        threads: int,
        owner: Account | None,
    ) -> None:
        self.folder = folder
        self._repository = repository
        self._reach = reach
        self._listing = listing
        self._threads = threads
        self._owner = owner
        self._stop = threading.Event()
        self.segments = tuple(segments(reach))

    @property
    def restore_command(self) -> str:
        """For the server's configuration."""
        return f"/bin/sh '{self.folder}/restore' %f '%p'"

    @contextmanager
    def running(self) -> Iterator[None]:
        """Fetch ahead for the length of a `with`."""
        self._prepare()
        threads = [
            threading.Thread(target=work, name="wal-feed", daemon=True) for work in (self._show_life, self._feed)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            (self.folder / "alive").unlink(missing_ok=True)
            for thread in threads:
                thread.join()
            # History files stay: a server that pauses asks for them when it is promoted, which may be days later.
            for segment in self.segments:
                (self.folder / "ready" / segment.name).unlink(missing_ok=True)

    def failure(self) -> str | None:
        """Why fetching was given up; None if it was not."""
        failed = self.folder / "failed"
        return failed.read_text() if failed.exists() else None

    def _prepare(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        for name in ("ready", "taken"):
            (self.folder / name).mkdir(parents=True)
        histories = sorted(self._listing.histories)
        known = [segment.name for segment in self.segments] + [history_key(timeline) for timeline in histories]
        (self.folder / "known").write_text("".join(f"{name}\n" for name in known))
        (self.folder / "alive").write_text(_beat(0))
        looks = int(_SILENT_SECONDS / _POLL_SECONDS)
        command = _COMMAND.format(folder=f"'{self.folder}'", fatal=_FATAL, looks=looks, pause=_POLL_SECONDS)
        (self.folder / "restore").write_text(command)
        for timeline in histories:
            content = self._repository.store.get(self._repository.layout.wal + history_key(timeline))
            (self.folder / "ready" / history_key(timeline)).write_bytes(content)
        hand_over(self.folder, self._owner)

    def _show_life(self) -> None:
        """Beat until we are told to stop. In place and of one length, which a full disk takes, too."""
        for number in count(1):
            if self._stop.wait(_BEAT_SECONDS):
                return
            with suppress(FileNotFoundError), (self.folder / "alive").open("r+") as alive:
                alive.write(_beat(number))

    def _feed(self) -> None:
        try:
            with ThreadPoolExecutor(self._threads, thread_name_prefix="wal") as pool:
                for start in range(0, len(self.segments), self._threads):
                    if not self._wait_for_room():
                        return
                    batch = self.segments[start : start + self._threads]
                    for segment, content in zip(batch, pool.map(self._fetch, batch), strict=True):
                        self._hand_over(segment.name, content)
        except (OpsError, OSError) as error:
            (self.folder / "failed").write_text(str(error))

    def _wait_for_room(self) -> bool:
        ready = self.folder / "ready"
        while not self._stop.is_set():
            if wait_until(lambda: self._stop.is_set() or sum(1 for _ in ready.iterdir()) < _AHEAD, timeout=1):
                return not self._stop.is_set()
        return False

    def _fetch(self, segment: Segment) -> bytes:
        """A segment's bytes; of an unfinished one what there is, and zeros, where the server stops reading."""
        first = Lsn(segment.start - segment.start % segment.size)
        whole = bytearray(segment.size)
        for piece in segment.pieces(self._listing):
            content = read_piece(self._repository, piece, segment)
            whole[piece.start - first : piece.start - first + len(content)] = content
        return bytes(whole)

    def _hand_over(self, name: str, content: bytes) -> None:
        part = self.folder / f"{name}.part"
        part.write_bytes(content)
        hand_over(part, self._owner)
        part.rename(self.folder / "ready" / name)


def _beat(number: int) -> str:
    return f"{number:010}\n"
