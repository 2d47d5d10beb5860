"""The bucket away, the network cut, the server restarted: WAL waits in the slot, and nothing is lost."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from ops_workflows.backup.take import take_backup
from ops_workflows.backup.wal_status import wal_status
from ops_workflows.errors import StorageError
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.postgres.processes import wait_until
from ops_workflows.postgres.server import DataDirectory
from ops_workflows.repository.catalogue import Repository, open_repository
from ops_workflows.repository.wal import Piece, superseded
from ops_workflows.restore.moment import AtTime, Latest
from ops_workflows.settings import Settings
from tests.support.command import as_environment, ended, ops_here, started
from tests.support.continuous import (
    SEGMENT,
    Traffic,
    caught_up,
    commit_times,
    is_streaming,
    receiving,
    repository_of,
    rows_at,
    server_end,
    slot_at,
    wal_listing,
    write_wal,
)
from tests.support.killing import Ending
from tests.support.proxy import REQUEST, Proxy, Requests, nth, proxy_to
from tests.support.servers import ScratchServer, reachable_folder, scratch_server


@pytest.fixture(scope="module")
def server(stack: object) -> Iterator[ScratchServer]:
    with scratch_server(track_commit_timestamp="on") as made:
        Traffic(made.dsn("postgres")).prepare()
        yield made


@pytest.fixture
def own(server: ScratchServer, settings: Settings) -> Iterator[Settings]:
    """A repository of the test's own, and no slot."""
    yield server.settings(settings, wal_flush_seconds=0.2, s3_timeout_seconds=3, s3_attempts=2)
    with server.connect() as connection:
        assert wait_until(lambda: not is_streaming(server), 20)
        connection.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
        connection.execute("TRUNCATE traffic")


@pytest.fixture
def to_bucket(own: Settings) -> Iterator[Proxy]:
    with proxy_to(own.require("s3_endpoint_url")) as proxy:
        yield proxy


@pytest.fixture
def to_server(server: ScratchServer) -> Iterator[Proxy]:
    with proxy_to(f"127.0.0.1:{server.server.port}") as proxy:
        yield proxy


def through(settings: Settings, proxy: Proxy) -> Settings:
    return settings.model_copy(update={"s3_endpoint_url": f"http://127.0.0.1:{proxy.port}"})


def is_whole(settings: Settings, server: ScratchServer) -> bool:
    listing = wal_listing(repository_of(settings, server))
    return len(listing.ranges()) == 1 and listing.ranges()[0].end >= slot_at(server)


def test_the_bucket_away_for_a_while(server: ScratchServer, own: Settings, to_bucket: Proxy) -> None:
    with receiving(own, server):
        take_backup(own)
    with (
        receiving(through(own, to_bucket), server) as receiver,
        Traffic(server.dsn("postgres")).running() as traffic,
    ):
        traffic.more(20)
        caught_up(server)
        to_bucket.cut()
        traffic.more(20)
        assert wait_until(lambda: any("WAL waits in the slot" in said for said in receiver.heard.sentences), 30)
        waits_at = slot_at(server)
        traffic.more(50)
        assert slot_at(server) == waits_at
        to_bucket.mend()
        assert caught_up(server) > waits_at
        assert any("The bucket takes WAL again" in said for said in receiver.heard.sentences)
        assert receiver.errors == []
    assert is_whole(own, server)
    with reachable_folder() as folder:
        assert rows_at(own, repository_of(own, server), Latest(), folder / "data") <= traffic.ids() | {
            max(traffic.ids()) + 1
        }


def test_a_tail_whose_segment_comes_whole_by_the_next_receiver(
    server: ScratchServer, own: Settings, to_bucket: Proxy
) -> None:
    """Segments could not be stored and tails could, so of a segment behind the one that waits there is one, too."""

    def refuse_segments(chunk: bytes) -> None:
        if (request := REQUEST.match(chunk)) and request[1] == b"PUT" and b".tail/" not in request[2]:
            raise ConnectionAbortedError

    def pieces() -> tuple[Piece, ...]:
        return wal_listing(repository_of(own, server)).pieces

    traffic = Traffic(server.dsn("postgres"))
    with receiving(through(own, to_bucket), server):
        caught_up(server)
        to_bucket.before = refuse_segments
        write_wal(server, SEGMENT // 4)
        begun = server_end(server)
        with traffic.running():
            traffic.more(20)
        assert wait_until(lambda: pieces()[-1].start >= begun, 20), pieces()
    write_wal(server, SEGMENT // 4)
    with receiving(own, server):
        caught_up(server)
    assert any(piece.whole and piece.start <= begun < piece.end for piece in pieces())
    assert not superseded(piece.key for piece in pieces())
    assert is_whole(own, server)


def test_killed_while_it_works_off_a_backlog(
    server: ScratchServer, own: Settings, to_bucket: Proxy, tmp_path: Path
) -> None:
    """What it had not come to is not promised, and not missing without a word; what it had come to can be had."""
    with receiving(own, server):
        backup = take_backup(own)
    ending, second = Ending(), nth(1)
    requests = Requests(
        lambda said: said.startswith("PUT") and ".tail/" not in said and second(said), ending, answered=True
    )
    with (
        started("ops", "wal", "stream", folder=tmp_path, env=as_environment(through(own, to_bucket))) as process,
        Traffic(server.dsn("postgres")).running() as traffic,
    ):
        ending.process = process
        assert wait_until(lambda: is_streaming(server), 30)
        traffic.more(20)
        caught_up(server)
        to_bucket.cut()
        traffic.more(20)
        write_wal(server, 5 * SEGMENT)
        traffic.more(50)
        lost = max(traffic.ids())
        to_bucket.before, to_bucket.after = requests.before, requests.after
        to_bucket.mend()
        assert wait_until(lambda: requests.acted, 60)
    committed = commit_times(server)
    repository = repository_of(own, server)
    wait_until_still(repository)
    # Segments travel side by side, so a later one may be there without the one before it.
    (end,) = [part.end for part in wal_listing(repository).ranges() if part.start <= backup.start_lsn < part.end]
    held = traffic.until(end)
    assert lost not in held
    status = wal_status(own)
    assert status.window is not None
    assert all(lsn <= end for number, lsn in traffic.acknowledged if committed[number] <= status.window[1])
    with reachable_folder() as folder:
        wanted = committed[lost].isoformat()
        done = ops_here(own, folder, "restore", "--to", wanted, "--target-dir", folder / "data")
        assert done.code != 0
        assert "cannot be reached: the WAL ends at" in done.sentence
        assert f"to {status.window[1]:%Y-%m-%d %H:%M:%S} UTC" in done.sentence
        assert not DataDirectory(folder / "data").running_processes()
    for at in (status.window[1], committed[sorted(held)[-2]]):
        with reachable_folder() as folder:
            there = rows_at(own, repository, AtTime(at), folder / "data")
        assert there == {number for number, time in committed.items() if time <= at}


def wait_until_still(repository: Repository) -> None:
    """What a killed process had sent whole may still be on its way into the bucket: until nothing comes any more."""
    seen = list[tuple[object, ...]]()

    def is_still() -> bool:
        seen.append(wal_listing(repository).pieces)
        return len(seen) > 25 and len(set(seen[-25:])) == 1

    assert wait_until(is_still, 30)


def test_with_traffic_the_bucket_is_less_than_15_s_behind(server: ScratchServer, own: Settings, tmp_path: Path) -> None:
    """With the flush interval that is the default."""
    usual = own.model_copy(update={"wal_flush_seconds": Settings.model_fields["wal_flush_seconds"].default})
    with receiving(usual, server), Traffic(server.dsn("postgres")).running() as traffic:
        take_backup(own)
        caught_up(server)
        until = time.monotonic() + 13
        lags = list[float]()
        while time.monotonic() < until:
            traffic.more(50)
            done = ops_here(usual, tmp_path, "wal", "status", "--json")
            said = json.loads(done.out)
            lags.append(said["lag_seconds"])
            assert (done.code, said["is_whole"], said["keeps_objective"]) == (0, True, True), done
    assert max(lags) < 15
    assert max(lags) > 3, "the interval was not seen"


def test_the_lag_grows_while_the_bucket_is_away(
    server: ScratchServer, own: Settings, to_bucket: Proxy, tmp_path: Path
) -> None:
    """It is the age of what the bucket has; beyond the objective that is said, and is the exit code."""
    strict = own.model_copy(update={"rpo_objective_seconds": 2})
    with (
        receiving(through(own, to_bucket), server),
        Traffic(server.dsn("postgres")).running() as traffic,
    ):
        take_backup(own)
        caught_up(server)
        to_bucket.cut()
        began = time.monotonic()
        traffic.more(20)
        time.sleep(4)
        away = time.monotonic() - began
        found = wal_status(strict)
        assert found.lag_seconds is not None
        assert away - 1 < found.lag_seconds < away + 5
        assert (found.is_whole, found.keeps_objective) == (True, False)
        done = ops_here(strict, tmp_path, "wal", "status")
        assert done.code == 1
        assert "not kept: at most" in " ".join(done.out.split())
        assert "OPS_RPO_OBJECTIVE_SECONDS" in done.out
        to_bucket.mend()
        caught_up(server)
        assert wait_until(lambda: wal_status(strict).keeps_objective, 20)


def test_memory_is_bounded_while_the_bucket_is_away(
    server: ScratchServer, own: Settings, to_bucket: Proxy, tmp_path: Path
) -> None:
    """Twenty segments are written meanwhile; a few of them at most are held."""
    settings = through(own, to_bucket)
    with started("ops", "wal", "stream", folder=tmp_path, env=as_environment(settings)) as process:
        assert wait_until(lambda: is_streaming(server), 30)
        caught_up(server)
        before = memory(process.pid)
        to_bucket.stall()
        waits_at = slot_at(server)
        write_wal(server, 20 * SEGMENT)
        received = "SELECT FROM pg_stat_replication WHERE application_name = 'ops_wal' AND sent_lsn > %s"
        with server.connect() as connection:
            # Two segments are filled then, and no more is taken in.
            enough = str(Lsn(waits_at - waits_at % SEGMENT + 2 * SEGMENT))
            assert wait_until(lambda: connection.execute(received, [enough]).rowcount == 1, 30)
        to_bucket.mend()
        caught_up(server)
        grown = memory(process.pid) - before
        os.kill(process.pid, signal.SIGTERM)
        assert ended(process).code == 0
    # Each of the two under way is there as it came, compressed, encrypted, and on its way; and the next one.
    assert grown < 12 * SEGMENT, f"{grown / SEGMENT:.1f} segments"
    assert is_whole(own, server)


def memory(pid: int) -> int:
    """The most that a process has held so far."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


@pytest.mark.parametrize("trouble", ["cut", "stall"])
def test_told_to_stop_while_the_bucket_is_away(
    server: ScratchServer, own: Settings, to_bucket: Proxy, tmp_path: Path, trouble: str
) -> None:
    """It leaves all the same, whatever the patience with one call; its last bytes wait in the slot."""
    usual = {name: Settings.model_fields[name].default for name in ("s3_timeout_seconds", "s3_attempts")}
    settings = through(own.model_copy(update=usual), to_bucket)
    with started("ops", "wal", "stream", folder=tmp_path, env=as_environment(settings)) as process:
        assert wait_until(lambda: is_streaming(server), 30)
        caught_up(server)
        getattr(to_bucket, trouble)()
        with Traffic(server.dsn("postgres")).running() as traffic:
            traffic.more(20)
        os.kill(process.pid, signal.SIGTERM)
        began = time.monotonic()
        done = ended(process, 60)
        took = time.monotonic() - began
    assert "Traceback" not in done.err, done
    assert took < 15
    to_bucket.mend()
    with receiving(own, server):
        caught_up(server)
    assert is_whole(own, server)


@pytest.mark.parametrize("trouble", ["cut", "stall"])
def test_the_network_to_postgresql_cut(
    server: ScratchServer, own: Settings, to_server: Proxy, tmp_path: Path, trouble: str
) -> None:
    """With a reset, or without a word: then it is given up after the stall time, and connected to anew."""
    dsn = server.dsn(port=to_server.port, password=server.password("ops_backup"))
    settings = own.model_copy(update={"backup_dsn": SecretStr(dsn), "stall_seconds": 5})
    # Of a connection that was cut without a word, the server learns only after a timeout of its own.
    with server.connect() as connection:
        connection.execute("ALTER SYSTEM SET wal_sender_timeout = '3s'")
        connection.execute("SELECT pg_reload_conf()")
    said, says = list[str](), {"cut": "broke", "stall": "silent"}[trouble]
    with (
        # A process of its own: libpq connects without letting other threads work, and the proxy is one.
        started("ops", "wal", "stream", folder=tmp_path, env=as_environment(settings)) as process,
        Traffic(server.dsn("postgres")).running() as traffic,
    ):
        threading.Thread(target=lambda: said.extend(process.stderr or ()), daemon=True).start()
        assert wait_until(lambda: is_streaming(server), 30)
        traffic.more(20)
        caught_up(server)
        getattr(to_server, trouble)()
        assert wait_until(lambda: any(says in line for line in said), 30)
        traffic.more(20)
        to_server.mend()
        caught_up(server)
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(30) == 0
    assert is_whole(own, server)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_the_primary_restarted(server: ScratchServer, own: Settings, mode: str) -> None:
    with receiving(own, server) as receiver:
        with Traffic(server.dsn("postgres")).running() as traffic:
            traffic.more(20)
            server.server.stop(mode)  # type: ignore[arg-type]
            assert wait_until(lambda: any("Trying again" in said for said in receiver.heard.sentences), 30)
            server.server.start()
            traffic.more(20)
        assert wait_until(lambda: is_streaming(server), 60)
        caught_up(server)
        assert receiver.errors == []
    assert is_whole(own, server)


def test_a_stopped_server_has_shipped_its_last_row(server: ScratchServer, own: Settings) -> None:
    """A server that stops in good order waits until the bucket has all, its shutdown checkpoint included."""
    slow = own.model_copy(update={"wal_flush_seconds": 1})
    with receiving(slow, server):
        take_backup(own)
        with Traffic(server.dsn("postgres")).running() as traffic:
            traffic.more(30)
        server.server.stop("fast", timeout=60)
        listing = wal_listing(open_repository(own))
        server.server.start()
        assert listing.ranges()[-1].end >= max(lsn for _, lsn in traffic.acknowledged)
    with reachable_folder() as folder:
        assert traffic.ids() == rows_at(own, open_repository(own), Latest(), folder / "data")


def test_the_bucket_away_from_the_beginning_is_an_error(server: ScratchServer, own: Settings, to_bucket: Proxy) -> None:
    to_bucket.cut()
    with receiving(through(own, to_bucket)) as receiver:
        assert wait_until(lambda: bool(receiver.errors), 30)
    (error,) = receiver.errors
    assert isinstance(error, StorageError)
