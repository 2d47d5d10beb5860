"""The bucket is there and of no use: full, closed to us, silent, at odds with our clock. WAL waits, nothing is lost."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self
from unittest import mock

import botocore.compat
import pytest

from ops_workflows.backup.take import take_backup
from ops_workflows.backup.wal_status import wal_status
from ops_workflows.postgres.processes import wait_until
from ops_workflows.restore.moment import AtTime, Latest
from ops_workflows.settings import Settings
from tests.support.bucket import forbidden
from tests.support.command import as_environment, ended, started
from tests.support.continuous import (
    SEGMENT,
    Traffic,
    caught_up,
    commit_times,
    is_streaming,
    receiving,
    repository_of,
    rows_at,
    slot_at,
    values,
    wal_listing,
    write_wal,
)
from tests.support.proxy import proxy_to
from tests.support.servers import ScratchServer, reachable_folder, scratch_server


@pytest.fixture(scope="module")
def server(stack: object) -> Iterator[ScratchServer]:
    with scratch_server(track_commit_timestamp="on") as made:
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


@dataclass(frozen=True)
class Trouble:
    """A repository that will take nothing.

    Attributes:
        settings: With it in them.
        says: What is to be read of it.
        begin: Takes nothing for the length of a `with`.
    """

    settings: Settings
    says: str
    begin: Callable[[], AbstractContextManager[object]]


@contextmanager
def closed(own: Settings) -> Iterator[Trouble]:
    """A bucket whose owner has taken the right to write from us."""
    yield Trouble(own, "To do: grant this key read, write, list and delete", lambda: forbidden(own, "s3:PutObject"))


class Full(BaseHTTPRequestHandler):
    """Answers as an S3 server does that has no room; of what is asked for, it has nothing."""

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b"<Error><Code>InsufficientStorage</Code><Message>The disk is full</Message></Error>"
        self.send_response(507)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.send_response(404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def full(own: Settings) -> Iterator[Trouble]:
    """An S3 server without room."""
    with proxy_to(own.require("s3_endpoint_url")) as proxy, ThreadingHTTPServer(("127.0.0.1", 0), Full) as without_room:
        threading.Thread(target=without_room.serve_forever, daemon=True).start()
        with_room, port = proxy._target, without_room.server_port

        @contextmanager
        def begin() -> Iterator[None]:
            proxy._target = ("127.0.0.1", port)
            proxy._drop()
            yield
            proxy._target = with_room
            proxy._drop()

        through = own.model_copy(update={"s3_endpoint_url": f"http://127.0.0.1:{proxy.port}"})
        yield Trouble(through, "The disk is full", begin)
        without_room.shutdown()


@contextmanager
def full_disk(own: Settings) -> Iterator[Trouble]:
    """A folder on a disk that somebody else fills up."""
    with reachable_folder() as place:
        mount = ["mount", "-t", "tmpfs", "-o", "size=160m,mode=0711", "tmpfs", str(place)]
        if subprocess.run(mount, capture_output=True, timeout=10, check=False).returncode:
            pytest.skip("only root can mount a small file system")

        @contextmanager
        def begin() -> Iterator[None]:
            with (place / "filler").open("wb", buffering=0) as filler, suppress(OSError):
                for size in (2**20, 2**12):
                    with suppress(OSError):
                        while filler.write(bytes(size)) == size:
                            pass
            yield
            (place / "filler").unlink()

        try:
            yield Trouble(own.at(place.as_uri()), "No space left on device. To do: make room there", begin)
        finally:
            subprocess.run(["umount", place], timeout=10, check=True)


class Late(datetime):
    """A clock that is five hours ahead."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return super().now(tz) + timedelta(hours=5)


@contextmanager
def wrong_clock(own: Settings) -> Iterator[Trouble]:
    """A machine whose clock is wrong by hours: S3 takes no request that is signed so."""
    late = SimpleNamespace(datetime=Late, timezone=SimpleNamespace(utc=UTC))
    yield Trouble(own, "To do: set this machine's clock", lambda: mock.patch.object(botocore.compat, "datetime", late))


@pytest.mark.parametrize("in_trouble", [closed, full, full_disk, wrong_clock])
def test_what_takes_nothing_is_waited_for(
    server: ScratchServer, own: Settings, in_trouble: Callable[[Settings], AbstractContextManager[Trouble]]
) -> None:
    with in_trouble(own) as trouble, receiving(trouble.settings, server) as receiver:
        said = receiver.heard.sentences
        take_backup(trouble.settings)
        with Traffic(server.dsn("postgres")).running() as traffic:
            traffic.more(20)
            caught_up(server)
            with trouble.begin():
                assert wait_until(lambda: any("WAL waits in the slot" in sentence for sentence in said), 30)
                assert any(trouble.says in sentence for sentence in said), said
                waits_at = slot_at(server)
                traffic.more(20)
                write_wal(server, 3 * SEGMENT)
                traffic.more(20)
                assert slot_at(server) == waits_at
                assert is_streaming(server)
            traffic.more(20)
        assert caught_up(server) > waits_at + 3 * SEGMENT
        assert any("The bucket takes WAL again" in sentence for sentence in said)
        assert receiver.errors == []
        repository = repository_of(trouble.settings, server)
        assert len(wal_listing(repository).ranges()) == 1
        with reachable_folder() as folder:
            assert rows_at(trouble.settings, repository, Latest(), folder / "data") == traffic.ids()


@pytest.mark.parametrize("level", ["remote_write", "remote_apply"])
def test_whoever_waits_for_the_receiver_waits_for_the_bucket(server: ScratchServer, own: Settings, level: str) -> None:
    """Each level of synchronous_commit that asks for a standby keeps the promise; that of `on` is tested elsewhere."""
    traffic = Traffic(server.dsn("postgres", options=f"-csynchronous_commit={level}"))
    with receiving(own, server) as receiver:
        with synchronous(server), traffic.running():
            traffic.more(10)
            with forbidden(own, "s3:PutObject"):
                said = receiver.heard.sentences
                assert wait_until(lambda: any("WAL waits in the slot" in sentence for sentence in said), 30)
                stands_at = len(traffic.acknowledged)
                assert not wait_until(lambda: len(traffic.acknowledged) > stands_at, 7)  # it reports every 5 s
                written = "SELECT write_lsn::text FROM pg_stat_replication WHERE application_name = 'ops_wal'"
                with server.connect() as connection:
                    assert values(connection, written) == [str(slot_at(server))]
            traffic.more(10)
        assert receiver.errors == []


@contextmanager
def synchronous(server: ScratchServer) -> Iterator[None]:
    """Commits wait for the receiver, for the length of a `with`."""
    with server.connect() as connection:
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'ops_wal'")
        connection.execute("SELECT pg_reload_conf()")
        query = "SELECT FROM pg_stat_replication WHERE application_name = 'ops_wal' AND sync_state = 'sync'"
        assert wait_until(lambda: connection.execute(query).rowcount == 1, 30)
        try:
            yield
        finally:
            connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
            connection.execute("SELECT pg_reload_conf()")


def test_told_to_stop_before_the_bucket_has_answered_at_all(own: Settings, tmp_path: Path) -> None:
    asked = list[bytes]()
    with proxy_to(own.require("s3_endpoint_url")) as proxy:
        proxy.before = asked.append
        proxy.stall()
        silent = own.model_copy(update={"s3_endpoint_url": f"http://127.0.0.1:{proxy.port}"})
        with started("ops", "wal", "stream", folder=tmp_path, env=as_environment(silent)) as process:
            assert wait_until(lambda: bool(asked), 30)
            os.kill(process.pid, signal.SIGTERM)
            began = time.monotonic()
            done = ended(process, 60)
            assert time.monotonic() - began < 8
    assert (done.code, "Traceback" in done.err) == (0, False), done
    assert "had not answered yet when the receiver had to stop" in " ".join(done.err.split())


# Both of the clocks that Python has, wrong in all of a process, the receiver's libraries included.
_WRONG_CLOCKS = """
import datetime, sys, time
ahead, right, real = float(sys.argv[1]), time.time, datetime.datetime
class Any(type):
    def __instancecheck__(cls, each):
        return isinstance(each, real)
class Wrong(real, metaclass=Any):
    @classmethod
    def now(cls, tz=None):
        return real.now(tz) + datetime.timedelta(seconds=ahead)
datetime.datetime, time.time = Wrong, lambda: right() + ahead
sys.argv = ["ops", "wal", "stream"]
from ops_workflows.cli import main
main()
"""


@pytest.mark.parametrize("hours", [-5, 5], ids=["behind", "ahead"])
def test_a_receiver_whose_clock_is_wrong_by_hours(
    server: ScratchServer, own: Settings, tmp_path: Path, hours: int
) -> None:
    """Moments are told by the server's clock alone: a time in the window is met to the row, and the window is right."""
    with reachable_folder() as place:
        settings = own.at(place.as_uri())  # S3 would refuse it
        process: Any
        with started(
            sys.executable, "-c", _WRONG_CLOCKS, str(hours * 3600), folder=tmp_path, env=as_environment(settings)
        ) as process:
            assert wait_until(lambda: is_streaming(server), 30)
            ahead = "SELECT extract(epoch FROM reply_time - now()) / 3600 FROM pg_stat_replication"
            with server.connect() as connection:
                assert wait_until(lambda: [round(found) for found in values(connection, ahead)] == [hours], 20)
            take_backup(settings)
            with Traffic(server.dsn("postgres")).running() as traffic:
                traffic.more(60)
            caught_up(server)
            committed = commit_times(server)
            status = wal_status(settings)
            assert status.window is not None
            assert abs(status.window[1] - datetime.now(UTC)) < timedelta(minutes=1)
            assert status.lag_seconds is not None
            assert status.lag_seconds < 60
            os.kill(process.pid, signal.SIGTERM)
            assert ended(process).code == 0
        listing = wal_listing(repository_of(settings, server))
        (last,) = [piece for piece in listing.pieces if piece.end == listing.ranges()[-1].end]
        assert last.stored_at is not None
        assert max(committed.values()) - timedelta(seconds=1) < last.stored_at < datetime.now(UTC)
        at = committed[sorted(traffic.ids())[30]]
        with reachable_folder() as folder:
            there = rows_at(settings, repository_of(settings, server), AtTime(at), folder / "data")
        assert there == {number for number, time in committed.items() if time <= at}
