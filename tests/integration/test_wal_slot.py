"""The slot dropped, lost or ahead: no gap where the server still has the WAL, and a gap is said where it has not."""

from collections.abc import Iterator

import pytest

from ops_workflows.backup.take import take_backup
from ops_workflows.backup.wal_status import wal_status
from ops_workflows.errors import RefusedError
from ops_workflows.postgres.processes import wait_until
from ops_workflows.restore.moment import AtLsn, Latest
from ops_workflows.restore.route import find_route
from ops_workflows.settings import Settings
from tests.support.continuous import (
    SEGMENT,
    Traffic,
    caught_up,
    is_streaming,
    receiving,
    repository_of,
    rows_at,
    server_end,
    slot_at,
    values,
    wal_listing,
    write_wal,
)
from tests.support.servers import ScratchServer, reachable_folder, scratch_server


@pytest.fixture(scope="module")
def server(stack: object) -> Iterator[ScratchServer]:
    with scratch_server(max_slot_wal_keep_size="32MB", max_wal_size="32MB", min_wal_size="32MB") as made:
        Traffic(made.dsn("postgres")).prepare()
        yield made


@pytest.fixture
def own(server: ScratchServer, settings: Settings) -> Iterator[Settings]:
    """A repository of the test's own, and no slot."""
    yield server.settings(settings, wal_flush_seconds=0.2)
    with server.connect() as connection:
        assert wait_until(lambda: not is_streaming(server), 20)
        connection.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
        connection.execute("TRUNCATE traffic")


def drop_slot(server: ScratchServer) -> None:
    with server.connect() as connection:
        connection.execute("SELECT pg_drop_replication_slot('ops_wal')")


def lose_slot(server: ScratchServer) -> None:
    """Write so much that the server lets go of what the slot holds back."""
    write_wal(server, 5 * SEGMENT)
    with server.connect() as connection:
        connection.execute("CHECKPOINT")
        state = "SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'ops_wal'"
        assert values(connection, state) == ["lost"]


def test_dropped_while_the_server_still_has_the_wal(server: ScratchServer, own: Settings) -> None:
    with receiving(own, server), Traffic(server.dsn("postgres")).running() as traffic:
        traffic.more(20)
        caught_up(server)
    drop_slot(server)
    with Traffic(server.dsn("postgres"), _next=10_000).running() as traffic:
        traffic.more(20)
    with server.connect() as connection:
        connection.execute("CHECKPOINT")  # a new slot begins here, behind what the bucket lacks
    with receiving(own, server) as receiver:
        caught_up(server)
        assert not any("gap" in said for said in receiver.heard.sentences)
    assert len(wal_listing(repository_of(own, server)).ranges()) == 1


def test_lost_is_a_gap_and_a_new_backup_heals_it(server: ScratchServer, own: Settings) -> None:
    with receiving(own, server):
        first = take_backup(own)
        with Traffic(server.dsn("postgres")).running() as traffic:
            traffic.more(20)
        before = caught_up(server)
    lose_slot(server)
    said = wal_status(own)
    assert "is lost" in said.receiver
    assert not said.is_whole
    with receiving(own, server) as receiver:
        after = caught_up(server)
        sentences = " ".join(receiver.heard.sentences)
        assert "Slot ops_wal was lost: the server kept no more WAL for it (max_slot_wal_keep_size)." in sentences
        assert "There is a gap in the bucket from" in sentences
        assert "Take a new base backup now." in sentences
        found = wal_status(own)
        assert found.receiving
        assert len(found.gaps) == 1
        assert found.cut_off is not None
        assert found.cut_off.start == found.gaps[0].end
        assert not found.is_whole
        repository = repository_of(own, server)
        # What lies before the gap can be had, and nothing else.
        with reachable_folder() as folder:
            assert rows_at(own, repository, Latest(), folder / "data") == traffic.ids()
        with pytest.raises(RefusedError, match=f"{after} cannot be reached.* WAL is missing: "):
            find_route(repository, AtLsn(after))
        assert find_route(repository, AtLsn(before))[0].backup.id == first.id
        second = take_backup(own)
        caught_up(server)
        healed = wal_status(own)
        assert healed.cut_off is None
        assert healed.is_whole
        assert healed.gaps == found.gaps  # it stays a gap
        assert find_route(repository, Latest())[0].backup.id == second.id
        with reachable_folder() as folder:
            assert rows_at(own, repository, Latest(), folder / "data") == traffic.ids()


def go_on(server: ScratchServer, traffic: Traffic) -> None:
    """Commit rows in two segments more."""
    with traffic.running():
        traffic.more(20)
        with server.connect() as connection:
            connection.execute("SELECT pg_switch_wal()")
        traffic.more(20)


def move_to_the_end(server: ScratchServer) -> None:
    """As somebody does who makes a slot by hand, to be rid of WAL that piles up."""
    with server.connect() as connection:
        connection.execute("SELECT pg_replication_slot_advance('ops_wal', pg_current_wal_flush_lsn())")
        connection.execute("CHECKPOINT")


@pytest.mark.parametrize("older", ["slot", "bucket"])
def test_ahead_of_the_bucket_while_the_server_still_has_the_wal(
    server: ScratchServer, own: Settings, older: str
) -> None:
    """A slot that was moved by hand, or a bucket that is an older copy of itself: what is missing is fetched."""
    traffic = Traffic(server.dsn("postgres"))
    with receiving(own, server):
        take_backup(own)
        copied = caught_up(server)
    with server.connect() as connection:
        connection.execute("SELECT pg_create_physical_replication_slot('keeps', true)")
    if older == "slot":
        go_on(server, traffic)
        move_to_the_end(server)
    else:
        with receiving(own, server):
            go_on(server, traffic)
            caught_up(server)
        repository = repository_of(own, server)
        repository.store.delete(piece.key for piece in wal_listing(repository).pieces if piece.end > copied)
    stood_at, end = slot_at(server), server_end(server)
    with receiving(own, server) as receiver:
        assert f"Slot ops_wal stands at {stood_at}, but the bucket's log ends at " in receiver.heard.sentences[0]
        assert wait_until(lambda: wal_listing(repository_of(own, server)).ranges()[0].end >= end, 30)
        assert caught_up(server) >= end
        assert len(receiver.heard.sentences) == 1
    assert len(wal_listing(repository_of(own, server)).ranges()) == 1
    with reachable_folder() as folder:
        assert rows_at(own, repository_of(own, server), Latest(), folder / "data") == traffic.ids()


def test_ahead_of_the_bucket_and_the_wal_is_gone(server: ScratchServer, own: Settings) -> None:
    with receiving(own, server):
        take_backup(own)
        caught_up(server)
    write_wal(server, SEGMENT)
    move_to_the_end(server)
    stood_at = slot_at(server)
    with receiving(own, server) as receiver:
        caught_up(server)
        assert "There is a gap in the bucket from" in receiver.heard.sentences[1]
        assert f"to {stood_at} on timeline 1: the server has removed that WAL." in receiver.heard.sentences[1]
        assert slot_at(server) >= stood_at - stood_at % SEGMENT
        assert len(wal_status(own).gaps) == 1


def test_lost_while_a_receiver_is_connected(server: ScratchServer, own: Settings) -> None:
    """It is ended by the server, comes back, says what is missing, and goes on."""
    slow = own.model_copy(update={"wal_flush_seconds": 600})
    with receiving(slow, server) as receiver:
        with server.connect() as connection:
            pid = values(connection, "SELECT active_pid FROM pg_replication_slots")[0]
        with server.connect() as connection:
            connection.execute("SELECT pg_terminate_backend(%s)", [pid])
        assert wait_until(lambda: any("Trying again" in said for said in receiver.heard.sentences), 30)
        assert wait_until(lambda: is_streaming(server), 60)
        assert receiver.errors == []


def test_a_logical_slot_of_that_name_is_refused(server: ScratchServer, own: Settings) -> None:
    with scratch_server(wal_level="logical") as other:
        settings = other.settings(own)
        with other.connect() as connection:
            connection.execute("SELECT pg_create_logical_replication_slot('ops_wal', 'pgoutput')")
        with receiving(settings) as receiver:
            assert wait_until(lambda: bool(receiver.errors), 30)
        (error,) = receiver.errors
        assert "Replication slot ops_wal is logical and not physical" in str(error)
    assert slot_at(server) == 0
