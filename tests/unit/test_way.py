"""Objects of the log, read: each is what its name says; a tail that has become a segment meanwhile is found there."""

from datetime import timedelta
from pathlib import Path

import pytest

from ops_workflows.errors import IntegrityError, StorageError
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.layout import Layout
from ops_workflows.repository.log_ledger import known_good, note_read, seen, sweep_log_ledger
from ops_workflows.repository.wal import WalListing, segment_key, segment_name, tail_key
from ops_workflows.repository.way import Segment, read_piece
from ops_workflows.storage.codec import compress
from ops_workflows.storage.folder import FolderStore
from tests.support.records import MOMENT

SIZE = 1024 * 1024
START = Lsn(3 * SIZE)
"""Of a segment."""
PAGE = 8192


def page(place: int) -> bytes:
    """A page of timeline 1."""
    header = (0xD116).to_bytes(2, "little") + bytes(2) + (1).to_bytes(4, "little") + place.to_bytes(8, "little")
    return header.ljust(PAGE, b"\x07")


LOG = b"".join(page(place) for place in range(START, START + SIZE, PAGE))
SEGMENT = Segment(segment_name(1, START, SIZE), 1, START, Lsn(START + SIZE), START, SIZE)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(FolderStore(tmp_path), Layout("", "7"))


def put(repository: Repository, name: str, content: bytes) -> None:
    repository.store.put(repository.layout.wal + name, compress(content, 1))


def listed(repository: Repository) -> WalListing:
    prefix = repository.layout.wal
    return WalListing.of(repository.store.objects(prefix), prefix, SIZE)


def test_a_tail_whose_segment_was_finished_since_it_was_listed(repository: Repository) -> None:
    tail = tail_key(1, START, START + 2 * PAGE, SIZE)
    put(repository, tail, LOG[: 2 * PAGE])
    (piece,) = listed(repository).pieces
    assert read_piece(repository, piece, SEGMENT) == LOG[: 2 * PAGE]
    repository.store.delete([piece.key])
    with pytest.raises(StorageError):
        read_piece(repository, piece, SEGMENT)
    put(repository, segment_key(1, START, SIZE), LOG)
    assert read_piece(repository, piece, SEGMENT) == LOG[: 2 * PAGE]


@pytest.mark.parametrize("log", [LOG[PAGE:] + LOG[:PAGE], LOG[:-1], LOG[:-PAGE] + bytes(PAGE - 1) + b"\1"])
def test_what_is_not_the_log_of_its_name(repository: Repository, log: bytes) -> None:
    put(repository, segment_key(1, START, SIZE), log)
    (piece,) = listed(repository).pieces
    with pytest.raises(IntegrityError, match=f"{SEGMENT.name}.*is not what its name says"):
        read_piece(repository, piece, SEGMENT)


SWITCHED = LOG[: 3 * PAGE] + bytes(SIZE - 3 * PAGE)
"""A segment that the server left for the next one."""


@pytest.mark.parametrize(("begins", "ends"), [(0, 2), (2, 5), (3, 5), (5, 128)])
def test_of_a_segment_that_was_left_a_tail_may_be_all_padding(repository: Repository, begins: int, ends: int) -> None:
    put(
        repository, tail_key(1, START + begins * PAGE, START + ends * PAGE, SIZE), SWITCHED[begins * PAGE : ends * PAGE]
    )
    (piece,) = listed(repository).pieces
    assert read_piece(repository, piece, SEGMENT) == SWITCHED[begins * PAGE : ends * PAGE]


@pytest.mark.parametrize("ends", [2, 128])
def test_no_segment_begins_with_padding(repository: Repository, ends: int) -> None:
    name = segment_key(1, START, SIZE) if ends == 128 else tail_key(1, START, START + ends * PAGE, SIZE)
    put(repository, name, bytes(ends * PAGE))
    (piece,) = listed(repository).pieces
    with pytest.raises(IntegrityError, match="is not what its name says"):
        read_piece(repository, piece, SEGMENT)


def test_the_ledger_knows_what_was_read_and_how_far_the_log_had_come(repository: Repository) -> None:
    for number in (3, 4):
        put(repository, segment_key(1, number * SIZE, SIZE), LOG)
    first, second = listed(repository).pieces
    note_read(repository, [first], MOMENT, (1, first.end))
    note_read(repository, [second], MOMENT + timedelta(days=1), (1, second.end))
    known = seen(repository)
    assert [each.end for each in known] == [(1, first.end), (1, second.end)]
    assert known_good(repository, known, MOMENT) == {each.key: each.etag for each in (first, second)}
    assert known_good(repository, known, MOMENT + timedelta(hours=1)) == {second.key: second.etag}
    repository.store.put(known[0].key, b"{}")
    assert known_good(repository, known, MOMENT) == {second.key: second.etag}
    assert sweep_log_ledger(repository, MOMENT + timedelta(days=9)) == 1
    assert [each.end for each in seen(repository)] == [(1, second.end)]
