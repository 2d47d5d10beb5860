"""What faults are made in: a repository with everything in it, of which each rung can be shown as long as it is whole.

    backups     an earlier one; the one that is looked at; one incremental to that; one incremental to the last
    dumps       an earlier one; the one that is looked at
    log         timeline 1, which was left, and timeline 2; whole segments of both, and a tail
    canaries    two, the second in the tail: whoever recovers to between them replays all of the log

Further canaries were committed, and are not told to the bucket: noting some of them, and taking back others, is how the
faults of canaries are made, without touching the log.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib.resources import files

from ops_workflows.backup.dump import take_dump
from ops_workflows.backup.policy import Kind
from ops_workflows.errors import DatabaseError
from ops_workflows.faults.source import Source, source
from ops_workflows.postgres.account import hand_over
from ops_workflows.progress import Progress
from ops_workflows.repository.backup import Backup
from ops_workflows.repository.canaries import Canary, note
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.dump import Dump
from ops_workflows.repository.reach import read_listing
from ops_workflows.repository.wal import Piece
from ops_workflows.settings import Settings

_SQL = files(__package__).joinpath("scene.sql").read_text()
_AHEAD = timedelta(seconds=2)  # of the clock, is the heartbeat that was written too early
_LATE = "late sender"


@dataclass(frozen=True, slots=True)
class Hidden:
    """Canaries that were committed, and that the bucket is not told of.

    Attributes:
        early: Two that were committed soon after the backups; a heartbeat with a later time was written before them.
        middle: Two that were committed on timeline 1, with much of the log behind them.
        doubled: Its row was written twice.
        before: Committed before the two that are known.
        after: Committed after them.
    """

    early: tuple[Canary, Canary]
    middle: tuple[Canary, Canary]
    doubled: Canary
    before: Canary
    after: Canary


@dataclass(frozen=True, slots=True)
class Scene:
    """The repository and its server."""

    source: Source
    repository: Repository
    earlier: Backup
    backup: Backup
    incremental: Backup
    last: Backup
    earlier_dump: Dump
    dump: Dump
    known: tuple[Canary, Canary]
    hidden: Hidden

    @property
    def settings(self) -> Settings:
        """Which lead to it."""
        return self.source.settings

    @property
    def late_sender(self) -> str:
        """Who sent the heartbeat that was written too early."""
        return _LATE

    def pieces(self, timeline: int) -> list[Piece]:
        """The objects of one timeline's log behind the backup, in their order."""
        listing, _ = read_listing(self.repository, self.backup.wal_segment_bytes)
        return [piece for piece in listing.pieces if piece.timeline == timeline and piece.start >= self.backup.stop_lsn]

    def segments(self, timeline: int) -> list[Piece]:
        """Those of them that are whole segments."""
        return [piece for piece in self.pieces(timeline) if piece.whole]

    @property
    def tail(self) -> Piece:
        """The last object of the log: part of a segment that is not finished."""
        return self.pieces(2)[-1]

    def hide(self, *canaries: Canary) -> None:
        """Take the bucket's word of canaries back."""
        self.repository.store.delete(self.repository.layout.canaries + canary.name for canary in canaries)


@contextmanager
def scene(settings: Settings, progress: Progress) -> Iterator[Scene]:
    """Make it, for the length of a `with`.

    Raises:
        OpsError: It cannot be made.
    """
    with source(settings, progress) as made:
        made.run(_SQL)
        made.catch_up()
        earlier, earlier_dump = made.back_up(), take_dump(made.settings)
        _write(made)
        backup, dump = made.back_up(), take_dump(made.settings)
        _write(made)
        incremental = made.back_up(Kind.INCREMENTAL)
        _write(made)
        last = made.back_up(Kind.INCREMENTAL)
        for link, parent in ((incremental, backup), (last, incremental)):
            if link.parent != parent.id:
                raise DatabaseError(f"Backup {link.id} was to be incremental to {parent.id}, and is not.")
        written = time.monotonic()
        _heartbeat_of_the_future(made)
        early = made.plant_two()
        doubled, before = made.plant(), made.plant()
        made.run(f"INSERT INTO ops.heartbeat (sender) VALUES ('{doubled.sender}')")  # noqa: S608 - hexadecimal digits
        _fill_segments(made, 2)
        time.sleep(max(0.0, written + 2 * _AHEAD.total_seconds() - time.monotonic()))
        middle = made.plant_two()
        _fill_segments(made, 1)
        promote(made)
        _fill_segments(made, 3)
        known = made.plant_two(ship=False)
        after = made.plant()
        made.catch_up()  # once, so that one tail holds all three
        hidden = Hidden(early, middle, doubled, before, after)
        found = Scene(made, made.repository, earlier, backup, incremental, last, earlier_dump, dump, known, hidden)
        found.hide(*early, *middle, doubled, before, after)
        yield found


def promote(source: Source) -> None:
    """Open a new timeline, as a promoted standby does: by a recovery to the end of the server's own log."""
    source.catch_up()
    server = source.server
    server.stop()
    signal = server.data_dir / "recovery.signal"
    signal.touch(mode=0o600)
    hand_over(signal, server.account)
    server.options["restore_command"] = "false"
    server.start()
    source.run("CHECKPOINT")
    source.catch_up()


@contextmanager
def noted(scene: Scene, *canaries: Canary) -> Iterator[None]:
    """The bucket is told of further canaries, for the length of a `with`."""
    for canary in canaries:
        note(scene.repository, canary)
    try:
        yield
    finally:
        scene.hide(*canaries)


@contextmanager
def hidden(scene: Scene, *canaries: Canary) -> Iterator[None]:
    """The bucket has forgotten canaries, for the length of a `with`."""
    scene.hide(*canaries)
    try:
        yield
    finally:
        for canary in canaries:
            note(scene.repository, canary)


def _write(source: Source) -> None:
    source.run("INSERT INTO items (name) SELECT md5(random()::text) FROM generate_series(1, 500)")


def _heartbeat_of_the_future(source: Source) -> None:
    ahead = f"{_AHEAD.total_seconds()} seconds"
    source.run(f"INSERT INTO ops.heartbeat (sender, at) VALUES ('{_LATE}', now() + interval '{ahead}')")  # noqa: S608


def _fill_segments(source: Source, count: int) -> None:
    for _ in range(count):
        _write(source)
        source.run("SELECT pg_switch_wal()")
    source.catch_up()
