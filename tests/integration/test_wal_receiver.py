"""The receiver killed, doubled, told to stop: whatever happens to it, the bucket's log has no gap and no wrong byte."""

import json
import os
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops_workflows.backup.take import take_backup
from ops_workflows.backup.wal_receiver import catch_up
from ops_workflows.backup.wal_shipper import WalShipper
from ops_workflows.errors import IntegrityError
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.postgres.processes import wait_until
from ops_workflows.restore.moment import Latest
from ops_workflows.settings import Settings
from tests.support.bucket import flipped
from tests.support.command import as_environment, ended, ops, started
from tests.support.continuous import (
    SEGMENT,
    Traffic,
    caught_up,
    is_streaming,
    kill_again_and_again,
    receiving,
    repository_of,
    rows_at,
    server_end,
    slot_at,
    wal_listing,
)
from tests.support.heard import Heard
from tests.support.servers import ScratchServer, reachable_folder, scratch_server

KILLS = 20


@pytest.fixture(scope="module")
def server(stack: object) -> Iterator[ScratchServer]:
    with scratch_server(summarize_wal="on") as made:
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


def test_killed_again_and_again_under_load(server: ScratchServer, own: Settings, tmp_path: Path) -> None:
    """No gap, ever: every row that was acknowledged before the last word of the bucket comes back."""
    with receiving(own, server):
        take_backup(own)
    with Traffic(server.dsn("postgres")).running() as traffic:
        kill_again_and_again(server, own, tmp_path, KILLS)
    repository = repository_of(own, server)
    acknowledged = slot_at(server)
    with reachable_folder() as folder:
        there = rows_at(own, repository, Latest(), folder / "data")
    assert traffic.until(acknowledged) <= there <= traffic.ids() | {max(traffic.ids()) + 1}
    with receiving(own, server):
        end = caught_up(server)
    assert [found.end >= end for found in wal_listing(repository).ranges()] == [True]
    with reachable_folder() as folder:
        assert traffic.ids() <= rows_at(own, repository, Latest(), folder / "data")


def test_told_to_stop_it_ships_the_tail_and_leaves(server: ScratchServer, own: Settings, tmp_path: Path) -> None:
    patient = own.model_copy(update={"wal_flush_seconds": 600})
    with started("ops", "wal", "stream", folder=tmp_path, env=as_environment(patient)) as process:
        assert wait_until(lambda: is_streaming(server), 30)
        with Traffic(server.dsn("postgres")).running() as traffic:
            traffic.more(50)
        end = server_end(server)
        sent = "SELECT FROM pg_stat_replication WHERE application_name = 'ops_wal' AND sent_lsn >= %s"
        with server.connect() as connection:
            assert wait_until(lambda: connection.execute(sent, [str(end)]).rowcount == 1, 20)
        time.sleep(1)  # until it has been read: what the bucket does not have, no receiver says that it has received
        os.kill(process.pid, signal.SIGTERM)
        began = time.monotonic()
        done = ended(process)
    assert time.monotonic() - began < 8
    assert (done.code, "Traceback" in done.err) == (0, False), done
    assert slot_at(server) >= end, (done, wal_listing(repository_of(own, server)).pieces)
    assert [found.end >= end for found in wal_listing(repository_of(own, server)).ranges()] == [True]


def test_a_second_receiver_is_refused_in_one_sentence(server: ScratchServer, own: Settings, tmp_path: Path) -> None:
    with receiving(own, server) as first:
        with started("ops", "wal", "stream", folder=tmp_path, env=as_environment(own)) as process:
            done = ended(process, 30)
        assert done.code != 0
        assert "Another receiver streams through slot ops_wal already" in done.sentence
        assert done.sentence.endswith("One is enough.")
        assert first.errors == []
        assert is_streaming(server)


def test_catching_up_beside_a_receiver(server: ScratchServer, own: Settings) -> None:
    with receiving(own, server), Traffic(server.dsn("postgres")).running() as traffic:
        traffic.more(20)
        end = server_end(server)
        assert catch_up(own, 60).flushed >= end


def test_catching_up_alone(server: ScratchServer, own: Settings) -> None:
    with Traffic(server.dsn("postgres")).running() as traffic:
        traffic.more(20)
    end = server_end(server)
    assert catch_up(own, 60).flushed >= end
    assert not is_streaming(server)


def test_catching_up_by_hand(server: ScratchServer, own: Settings, tmp_path: Path) -> None:
    with Traffic(server.dsn("postgres")).running() as traffic:
        traffic.more(20)
    end = server_end(server)
    done = ops(own, tmp_path, "wal", "catch-up", "--json")
    assert done.code == 0, done.err
    assert Lsn.parse(json.loads(done.out)["flushed"]) >= end
    assert slot_at(server) >= end


def test_finished_segments_replace_their_tails(server: ScratchServer, own: Settings) -> None:
    with receiving(own, server), Traffic(server.dsn("postgres")).running() as traffic:
        for _ in range(3):
            traffic.more(30)
            caught_up(server)
            with server.connect() as connection:
                connection.execute("SELECT pg_switch_wal()")
        traffic.more(30)
        caught_up(server)
        listing = wal_listing(repository_of(own, server))
        whole = [piece for piece in listing.pieces if piece.whole]
        assert len(whole) >= 3
        last = max(piece.end for piece in whole)
        assert wait_until(
            lambda: all(piece.whole or piece.start >= last for piece in wal_listing(repository_of(own, server)).pieces),
            20,
        )
    assert len(wal_listing(repository_of(own, server)).ranges()) == 1


def test_an_idle_server_is_no_stall(server: ScratchServer, own: Settings) -> None:
    """Nothing happens for longer than the stall time: the receiver asks whether anybody is there, and stays."""
    hasty = own.model_copy(update={"stall_seconds": 5})
    with receiving(hasty, server) as receiver:
        caught_up(server)
        with server.connect() as connection:
            (since,) = connection.execute("SELECT backend_start FROM pg_stat_replication").fetchone() or (None,)
            gone = "SELECT FROM pg_stat_replication WHERE backend_start = %s"
            assert not wait_until(lambda: connection.execute(gone, [since]).rowcount == 0, 12)
        assert receiver.heard.sentences == []


@pytest.mark.parametrize("alike", [True, False], ids=["alike", "different"])
def test_a_segment_that_is_there_already(server: ScratchServer, own: Settings, alike: bool) -> None:
    """Sent again as it is, it is accepted; with other content it is refused. Either way nothing is replaced."""
    with receiving(own, server):
        with server.connect() as connection:
            connection.execute("SELECT pg_switch_wal()")
        caught_up(server)
    repository = repository_of(own, server)
    first = next(piece for piece in wal_listing(repository).pieces if piece.whole)
    stored = repository.store.head(first.key)
    content = repository.log(first.key)
    if not alike:
        content = flipped(content)
    awake, wake = os.pipe()
    shipper = WalShipper(
        repository,
        timeline=first.timeline,
        start=first.start,
        segment_bytes=SEGMENT,
        level=3,
        progress=Heard(),
        wake=wake,
    )
    try:
        shipper.add(first.start, memoryview(content), None)
        assert select.select([awake], [], [], 20)[0], "nothing was acknowledged"
        if alike:
            assert shipper.acknowledge()
            assert shipper.flushed == first.end
        else:
            with pytest.raises(IntegrityError, match="with other content than the server has now"):
                shipper.acknowledge()
            assert shipper.flushed == first.start
    finally:
        shipper.close()
        os.close(awake)
        os.close(wake)
    again = repository.store.head(first.key)
    assert stored is not None
    assert again is not None
    assert (again.etag, again.modified, again.metadata) == (stored.etag, stored.modified, stored.metadata)
