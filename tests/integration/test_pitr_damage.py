"""A segment's object deleted, truncated, altered or swapped: the restore fails, names it, and leaves nothing whole."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ops_workflows.backup.take import take_backup
from ops_workflows.errors import IntegrityError, OpsError, RefusedError
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.wal import Piece
from ops_workflows.restore import run
from ops_workflows.restore.moment import AtLsn, Latest
from ops_workflows.restore.route import find_route
from ops_workflows.settings import Settings
from ops_workflows.storage.codec import Codec, decompress
from tests.support.bucket import flipped
from tests.support.continuous import SEGMENT, Traffic, caught_up, receiving, repository_of, rows_at, wal_listing
from tests.support.servers import reachable_folder, scratch_server

SEGMENTS = 4


@dataclass
class Stored:
    settings: Settings
    repository: Repository
    segments: list[Piece]
    rows: set[int]
    end: Lsn


@pytest.fixture(scope="module", params=["encrypted", "plain"])
def stored(settings: Settings, request: pytest.FixtureRequest) -> Iterator[Stored]:
    """A backup, and behind it some segments with rows in each."""
    with scratch_server() as server:
        traffic = Traffic(server.dsn("postgres"))
        traffic.prepare()
        keys = {} if request.param == "encrypted" else {"age_recipients": ""}
        own = server.settings(settings, wal_flush_seconds=0.2, **keys)
        with receiving(own, server):
            backup = take_backup(own)
            for _ in range(SEGMENTS):
                with traffic.running():
                    traffic.more(10)
                with server.connect() as connection:
                    connection.execute("SELECT pg_switch_wal()")
            end = caught_up(server)
        repository = repository_of(own, server)
        pieces = [piece for piece in wal_listing(repository).pieces if piece.whole and piece.start >= backup.stop_lsn]
        assert len(pieces) >= SEGMENTS
        yield Stored(own, repository, pieces, traffic.ids(), end)


@pytest.fixture
def folder() -> Iterator[Path]:
    with reachable_folder() as made:
        yield made / "data"


def nothing_whole_is_left(folder: Path) -> bool:
    """Whether nobody could take what is there for the restored database: it was not promoted, and is marked so."""
    return not any(folder.glob("global/pg_control")) or (folder / "recovery.signal").exists()


def altered(content: bytes) -> bytes:
    """One bit is another, where that matters: of a frame of zeros, some bits change nothing in what it holds."""
    for length in range(len(content), 0, -1):
        damaged = flipped(content[:length]) + content[length:]
        if not holds_the_same(content, damaged):
            return damaged
    raise AssertionError("No bit of it matters.")


def holds_the_same(content: bytes, damaged: bytes) -> bool:
    try:
        before, after = (b"".join(decompress(Codec.ZSTD, [each], "segment")) for each in (content, damaged))
    except IntegrityError:  # so it does whenever it is encrypted: then neither is such a frame
        return False
    return before == after


def spoil(stored: Stored, victim: Piece, how: Callable[[bytes], bytes]) -> Callable[[], None]:
    store = stored.repository.store
    there = store.head(victim.key)
    assert there is not None
    whole, metadata = store.get(victim.key), dict(there.metadata)
    store.put(victim.key, how(whole), metadata=metadata)
    return lambda: store.put(victim.key, whole, metadata=metadata) and None


@pytest.mark.parametrize("how", ["truncated", "empty", "altered", "swapped", "of another place"])
def test_a_segment_that_is_not_what_it_was(stored: Stored, folder: Path, how: str) -> None:
    victim, other = stored.segments[1], stored.segments[2]
    store = stored.repository.store
    foreign = store.get(other.key)
    change: dict[str, Callable[[bytes], bytes]] = {
        "truncated": lambda content: content[: len(content) // 2],
        "empty": lambda _content: b"",
        "altered": altered,
        "swapped": lambda _content: foreign,
        "of another place": lambda _content: store.get(stored.segments[0].key),
    }
    mend = spoil(stored, victim, change[how])
    try:
        with pytest.raises(OpsError) as failed:
            rows_at(stored.settings, stored.repository, Latest(), folder)
        assert victim.key in str(failed.value)
        assert nothing_whole_is_left(folder)
    finally:
        mend()


def test_a_segment_that_is_gone(stored: Stored, folder: Path) -> None:
    """It is a gap: what lies before can be had, what lies behind cannot, and says so before anything is begun."""
    store, victim = stored.repository.store, stored.segments[1]
    there = store.head(victim.key)
    assert there is not None
    content, metadata = store.get(victim.key), dict(there.metadata)
    store.delete([victim.key])
    try:
        assert [(gap.start, gap.end) for gap in wal_listing(stored.repository).gaps()] == [(victim.start, victim.end)]
        with pytest.raises(RefusedError, match=f"{stored.end} cannot be reached.* WAL is missing: {victim.start}"):
            rows_at(stored.settings, stored.repository, AtLsn(stored.end), folder)
        assert not folder.exists()
    finally:
        store.put(victim.key, content, metadata=metadata)
    assert victim.end - victim.start == SEGMENT


def test_a_segment_that_goes_after_it_was_listed(stored: Stored, folder: Path) -> None:
    store, victim = stored.repository.store, stored.segments[2]
    there = store.head(victim.key)
    assert there is not None
    content, metadata = store.get(victim.key), dict(there.metadata)
    route, listing = find_route(stored.repository, Latest())
    plan = run.plan(route, folder)
    store.delete([victim.key])
    try:
        with (
            pytest.raises(OpsError) as failed,
            run.recovered(stored.settings, stored.repository, plan, listing),
        ):
            pass
        assert victim.key in str(failed.value)
        assert nothing_whole_is_left(folder)
    finally:
        store.put(victim.key, content, metadata=metadata)


def test_the_last_place_of_all_can_be_had(stored: Stored, folder: Path) -> None:
    """PostgreSQL stops at a place when it sees a record behind it, and there is none."""
    assert rows_at(stored.settings, stored.repository, AtLsn(stored.end), folder) == stored.rows


def test_all_of_it_is_there(stored: Stored, folder: Path) -> None:
    assert rows_at(stored.settings, stored.repository, Latest(), folder) == stored.rows
