"""A restore that is killed while PostgreSQL recovers: the server that waits for its WAL ends by itself."""

import re
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ops_workflows.backup.take import take_backup
from ops_workflows.postgres.processes import wait_until
from ops_workflows.postgres.server import DataDirectory
from ops_workflows.repository.catalogue import open_repository
from ops_workflows.settings import Settings
from tests.support.command import as_environment, ops_here, started
from tests.support.continuous import SEGMENT, caught_up, receiving, wal_listing, write_wal
from tests.support.proxy import Proxy, proxy_to
from tests.support.servers import reachable_folder, scratch_server

SILENCE = 3.0  # seconds; a minute would be long for a test
RESTORE = f"""
from ops_workflows.cli import main
from ops_workflows.restore import wal_feed
wal_feed._BEAT_SECONDS, wal_feed._SILENT_SECONDS = 0.2, {SILENCE}
main()
"""


class Withheld:
    """Holds up the one answer of the bucket that begins with a segment, until it is let go."""

    def __init__(self, proxy: Proxy, key: str) -> None:
        self._asked = re.compile(rb"GET \S*" + re.escape(key.encode()))
        self._free = threading.Event()
        proxy.before = self._before

    def let_go(self) -> None:
        self._free.set()

    def _before(self, chunk: bytes) -> None:
        if self._asked.match(chunk):
            self._free.wait()


@pytest.fixture
def own(settings: Settings) -> Iterator[Settings]:
    """A backup, and some segments behind it."""
    with scratch_server() as server:
        made = server.settings(settings, wal_flush_seconds=0.2)
        with receiving(made, server):
            take_backup(made)
            write_wal(server, 3 * SEGMENT)
            caught_up(server)
        yield made


def fetching(folder: Path) -> list[psutil.Process]:
    """The shells that wait for WAL."""
    command = f"{folder}/data.run/wal/restore"
    found = psutil.process_iter(["cmdline"])
    return [process for process in found if any(command in word for word in process.info["cmdline"] or [])]


def test_the_server_that_it_was_feeding_gives_up(own: Settings) -> None:
    second = [piece for piece in wal_listing(open_repository(own)).pieces if piece.whole][-2]
    with reachable_folder() as folder, proxy_to(own.require("s3_endpoint_url")) as proxy:
        server = DataDirectory(folder / "data")
        withheld = Withheld(proxy, second.key)
        through = own.model_copy(update={"s3_endpoint_url": f"http://127.0.0.1:{proxy.port}"})
        command = (sys.executable, "-c", RESTORE, "restore", "--target-dir", folder / "data")
        try:
            with started(*command, folder=folder, env=as_environment(through)) as process:
                assert wait_until(lambda: bool(fetching(folder)), 60), process.poll()
                # However slow the bucket is: whoever lives is waited for.
                assert not wait_until(lambda: not server.running_processes(), 3 * SILENCE)
                assert fetching(folder)
                process.kill()
                assert process.wait(10) == -signal.SIGKILL
            assert wait_until(lambda: not server.running_processes() and not fetching(folder), 10 * SILENCE)
        finally:
            withheld.let_go()
            server.clear_remains()


def test_the_same_command_again_ends_the_server_and_does_the_whole(own: Settings) -> None:
    """Long before that server would give up; one that nobody was killed over is left alone."""
    second = [piece for piece in wal_listing(open_repository(own)).pieces if piece.whole][-2]
    with reachable_folder() as folder, proxy_to(own.require("s3_endpoint_url")) as proxy:
        server, command = DataDirectory(folder / "data"), ("restore", "--target-dir", folder / "data")
        withheld = Withheld(proxy, second.key)
        through = own.model_copy(update={"s3_endpoint_url": f"http://127.0.0.1:{proxy.port}"})
        try:
            with started("ops", *command, folder=folder, env=as_environment(through)) as process:
                assert wait_until(lambda: bool(fetching(folder)), 60), process.poll()
                process.kill()
                process.wait(10)
            assert server.running_processes()
            done = ops_here(own, folder, *command, "--keep-running")
            assert done.code == 0, done
            (postmaster,) = [server.postmaster()]
            assert postmaster is not None
            refused = ops_here(own, folder, *command)
            assert refused.code == 1
            assert "server runs over it: choose an empty or new folder, or stop the server (kill -INT" in (
                refused.sentence
            )
            assert f"{postmaster.pid}" in refused.sentence
            assert server.running_processes()
        finally:
            withheld.let_go()
            server.clear_remains()
