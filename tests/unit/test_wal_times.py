"""Until when the log in the bucket is whole: what the receiver says of each object, and what is read from that."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ops_workflows.backup.wal_shipper import WalShipper
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.postgres.processes import wait_until
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.layout import Layout
from ops_workflows.repository.reach import read_listing
from ops_workflows.repository.wal import ALL_UNTIL, known_time, segment_key, tail_key
from ops_workflows.storage.folder import FolderStore
from ops_workflows.storage.objects import StoredObject
from tests.support.heard import Heard

SEGMENT = 1024 * 1024
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
_MOST_LOOKS = 40  # for one end of the log


class Counting(FolderStore):
    """A folder that knows which objects were looked at."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.looked_at: list[str] = []

    def head(self, key: str) -> StoredObject | None:
        self.looked_at.append(key)
        return super().head(key)


@pytest.fixture
def store(tmp_path: Path) -> Counting:
    return Counting(tmp_path)


@pytest.fixture
def repository(store: Counting) -> Repository:
    return Repository(store, Layout("ops", "7711281658445912347"))


def at(segments: float) -> Lsn:
    return Lsn(int(segments * SEGMENT))


@contextmanager
def shipping(repository: Repository, start: Lsn) -> Iterator[tuple[WalShipper, Callable[[], None]]]:
    """A shipper, and a way to wait until all that it was given is stored."""
    awake, wake = os.pipe()
    shipper = WalShipper(
        repository, timeline=1, start=start, segment_bytes=SEGMENT, level=1, progress=Heard(), wake=wake
    )

    def stored() -> None:
        shipper.ship_tail()
        assert wait_until(lambda: shipper.acknowledge() and shipper.flushed == shipper.received, 20)

    try:
        yield shipper, stored
    finally:
        shipper.close()
        os.close(awake)
        os.close(wake)


def said(repository: Repository) -> dict[Lsn, str]:
    """What each object says, by where it ends."""
    listing, _ = read_listing(repository, SEGMENT)
    return {piece.end: repository.store.head(piece.key).metadata[ALL_UNTIL] for piece in listing.pieces}  # type: ignore[union-attr]


def known(repository: Repository) -> dict[Lsn, datetime | None]:
    return {piece.end: piece.all_until for piece in read_listing(repository, SEGMENT)[0].pieces}


def test_while_there_is_more_to_come_the_last_time_without_stays(repository: Repository) -> None:
    """The bucket was away, and the server had more: what is sent then says when last there was no more."""
    later = NOON + timedelta(minutes=5)
    with shipping(repository, at(4)) as (shipper, stored):
        shipper.add(at(4), memoryview(bytes(SEGMENT // 2)), NOON)
        stored()
        shipper.add(at(4.5), memoryview(bytes(SEGMENT)), None)
        stored()
        shipper.add(at(5.5), memoryview(bytes(SEGMENT)), later)
        stored()
    assert said(repository) == {at(5): NOON.isoformat(), at(6): NOON.isoformat(), at(6.5): later.isoformat()}


def test_a_receiver_that_has_not_come_to_the_end_yet_says_that_it_does_not_know(repository: Repository) -> None:
    with shipping(repository, at(4)) as (shipper, stored):
        shipper.add(at(4), memoryview(bytes(SEGMENT + 100)), None)
        stored()
    assert set(said(repository).values()) == {"unknown"}


def put(repository: Repository, key: str, **metadata: str) -> None:
    named = {name.replace("_", "-"): value for name, value in metadata.items()}
    repository.store.put(repository.layout.wal + key, b"x", metadata=named)


@pytest.mark.parametrize("metadata", [{}, {"all_until": ""}, {"all_until": "unknown"}, {"all_until": "noon"}])
def test_an_object_that_does_not_know_leaves_it_to_the_one_before(
    repository: Repository, store: Counting, metadata: dict[str, str]
) -> None:
    """When it was stored says nothing: the log may have gone on long before."""
    for number in range(3):
        put(repository, segment_key(1, number * SEGMENT, SEGMENT), all_until=(NOON + timedelta(number)).isoformat())
    put(repository, segment_key(1, 3 * SEGMENT, SEGMENT), **metadata)
    put(repository, tail_key(1, at(4), at(4.5), SEGMENT), **metadata)
    store.looked_at.clear()
    assert known(repository) == dict.fromkeys(map(at, (1, 2, 4, 4.5))) | {at(3): NOON + timedelta(2)}
    assert len(store.looked_at) == 3  # and the others are not asked


def test_of_a_long_log_that_knows_nothing_only_so_many_objects_are_asked(
    repository: Repository, store: Counting
) -> None:
    for number in range(100):
        put(repository, segment_key(1, number * SEGMENT, SEGMENT))
    assert set(known(repository).values()) == {None}
    assert 1 < len(store.looked_at) <= _MOST_LOOKS


def test_a_timeline_that_was_left_is_asked_from_there(repository: Repository) -> None:
    """What it wrote afterwards is on no way to the new one."""
    for number in range(9):
        put(repository, segment_key(1, number * SEGMENT, SEGMENT), all_until=(NOON + timedelta(number)).isoformat())
    put(repository, segment_key(2, 5 * SEGMENT, SEGMENT), all_until="unknown")
    repository.store.put(f"{repository.layout.wal}00000002.history", f"1\t{at(5.5)}\tno recovery target\n".encode())
    found = {piece.end: piece.all_until for piece in read_listing(repository, SEGMENT)[0].pieces if piece.timeline == 1}
    assert {end: time for end, time in found.items() if time} == {
        at(5): NOON + timedelta(4),
        at(9): NOON + timedelta(8),
    }


@pytest.mark.parametrize("text", [None, "", "unknown", "2026-01-31", "2026-01-31T12:00:00"])
def test_no_time_at_all(text: str | None) -> None:
    """Without a zone it could be another hour."""
    assert known_time(text) is None


def test_a_time() -> None:
    assert known_time(NOON.isoformat()) == NOON
