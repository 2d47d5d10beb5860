"""Continuous protection put to the test: rows that are written while a receiver works, and what came of them."""

import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import scalar_row

from ops_workflows.backup.wal_receiver import receive_wal
from ops_workflows.postgres.account import hand_over
from ops_workflows.postgres.cluster import clone_cluster
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.postgres.processes import wait_until
from ops_workflows.postgres.server import Server
from ops_workflows.repository.catalogue import Repository, open_repository
from ops_workflows.repository.reach import read_listing
from ops_workflows.repository.wal import WalListing
from ops_workflows.restore import run
from ops_workflows.restore.moment import Moment
from ops_workflows.restore.route import find_route
from ops_workflows.settings import Settings
from tests.support.brood import brood
from tests.support.heard import Heard
from tests.support.servers import HOST, ScratchServer, free_port

SEGMENT = 16 * 1024 * 1024
_PACE_SECONDS = 0.004  # between two rows: traffic that leaves the processors to the others
_ROW = "INSERT INTO traffic VALUES (%s, repeat(md5(random()::text), 12)) RETURNING pg_current_wal_insert_lsn()::text"


@dataclass
class Traffic:
    """One client that commits row after row and remembers each that was acknowledged, and how far the log was then."""

    dsn: str
    acknowledged: list[tuple[int, Lsn]] = field(default_factory=list)
    _next: int = 1
    _stop: threading.Event = field(default_factory=threading.Event)

    def prepare(self) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS traffic (id bigint PRIMARY KEY, filler text)")

    @contextmanager
    def running(self) -> Iterator["Traffic"]:
        """Commit rows for the length of a `with`; a server that goes away is tried again."""
        self._stop.clear()
        thread = threading.Thread(target=self._commit, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            thread.join(30)
            assert not thread.is_alive()

    def more(self, rows: int, timeout: float = 60) -> None:
        """Wait until so many further rows were acknowledged."""
        goal = len(self.acknowledged) + rows
        assert wait_until(lambda: len(self.acknowledged) >= goal, timeout), "the traffic does not get on"

    def ids(self) -> set[int]:
        return {number for number, _ in self.acknowledged}

    def until(self, lsn: Lsn) -> set[int]:
        """The rows whose commits certainly lie before a place of the log: the row after them began before it."""
        return {
            number
            for (number, _), (_, later) in zip(self.acknowledged, self.acknowledged[1:], strict=False)
            if later <= lsn
        }

    def _commit(self) -> None:
        while not self._stop.is_set():
            with suppress(psycopg.Error), psycopg.connect(self.dsn, autocommit=True, connect_timeout=5) as connection:
                while not self._stop.wait(_PACE_SECONDS):
                    number, self._next = self._next, self._next + 1
                    (at,) = connection.execute(_ROW, [number]).fetchone() or ("0/0",)
                    self.acknowledged.append((number, Lsn.parse(at)))
            self._stop.wait(0.1)


def values(connection: psycopg.Connection[Any], query: str) -> list[Any]:
    """The first column of a query's answer."""
    with connection.cursor(row_factory=scalar_row) as cursor:
        return cursor.execute(query.encode()).fetchall()


def server_end(server: ScratchServer) -> Lsn:
    """How far the server has flushed its log."""
    with server.connect() as connection:
        return Lsn.parse(values(connection, "SELECT pg_current_wal_flush_lsn()::text")[0])


def write_wal(server: ScratchServer, size: int) -> None:
    """Fill the log with so many bytes that no codec makes much smaller."""
    with server.connect() as connection:
        for _ in range(0, size, 2**20):
            noise = random.randbytes(2**20 - 1024)
            connection.execute("SELECT pg_logical_emit_message(false, 'noise', %s::bytea)", [noise])
        connection.execute("SELECT pg_switch_wal()")


def slot_at(server: ScratchServer, slot: str = "ops_wal") -> Lsn:
    """How far the bucket has acknowledged the log, as the server was told; 0 without a slot."""
    query = f"SELECT coalesce(restart_lsn, '0/0')::text FROM pg_replication_slots WHERE slot_name = '{slot}'"
    with server.connect() as connection:
        return max((Lsn.parse(text) for text in values(connection, query)), default=Lsn(0))


def is_streaming(server: ScratchServer, slot: str = "ops_wal") -> bool:
    with server.connect() as connection:
        return bool(values(connection, f"SELECT true FROM pg_replication_slots WHERE slot_name = '{slot}' AND active"))


def caught_up(server: ScratchServer, timeout: float = 60) -> Lsn:
    """Wait until the bucket has all that the server has flushed by now."""
    end = server_end(server)
    assert wait_until(lambda: slot_at(server) >= end, timeout), f"the slot is at {slot_at(server)}, the log at {end}"
    return end


@dataclass
class Receiving:
    """A receiver in a thread of this process."""

    heard: Heard
    stop: threading.Event
    errors: list[BaseException]
    thread: threading.Thread

    def end(self, timeout: float = 30) -> None:
        """Stop it as SIGTERM does."""
        self.stop.set()
        self.thread.join(timeout)
        assert not self.thread.is_alive(), "the receiver does not leave"


@contextmanager
def receiving(settings: Settings, server: ScratchServer | None = None) -> Iterator[Receiving]:
    """Receive for the length of a `with`; where a server is given, its slot is streamed from before the body begins."""
    heard, stop, errors = Heard(), threading.Event(), list[BaseException]()

    def work() -> None:
        try:
            receive_wal(settings, stop, heard)
        except BaseException as error:  # noqa: BLE001 - looked at by the test
            errors.append(error)

    made = Receiving(heard, stop, errors, threading.Thread(target=work, daemon=True))
    made.thread.start()
    try:
        if server is not None:
            assert wait_until(lambda: bool(errors) or is_streaming(server), 30), heard.sentences
            assert not errors, errors
        yield made
    finally:
        made.end(60)


def kill_again_and_again(server: ScratchServer, settings: Settings, folder: Path, times: int, seed: int = 1) -> None:
    """Receivers one after the other, each killed at a moment of chance; after each the bucket's log has no gap."""
    chance = random.Random(seed)
    with brood(settings, folder) as receivers:
        for number in range(times):
            pid = receivers.hatch()
            assert wait_until(lambda: is_streaming(server), 30)
            if number % 5 == 0:
                with server.connect() as connection:
                    connection.execute("SELECT pg_switch_wal()")
            time.sleep(chance.uniform(0, 0.5))
            assert receivers.kill(pid, signal.SIGKILL) == -signal.SIGKILL
            acknowledged = slot_at(server)
            ranges = wal_listing(repository_of(settings, server)).ranges()
            assert [found.end >= acknowledged for found in ranges] == [True], (number, ranges, acknowledged)


def repository_of(settings: Settings, server: ScratchServer) -> Repository:
    return open_repository(settings, server.system)


def wal_listing(repository: Repository) -> WalListing:
    return read_listing(repository, SEGMENT)[0]


@contextmanager
def recovered(
    settings: Settings, repository: Repository, moment: Moment, folder: Path, *, stay: bool = False, **more: Any
) -> Iterator[psycopg.Connection[Any]]:
    """A connection to the database as it was at a moment."""
    route, listing = find_route(repository, moment, more.get("backup_id"))
    plan = run.plan(route, folder, None, repository.chain(route.backup))
    progress = more.get("progress") or Heard()
    with (
        run.recovered(settings, repository, plan, listing, progress, stay=stay) as (restored, server),
        psycopg.connect(server.dsn("postgres", restored.backup.superuser), autocommit=True) as connection,
    ):
        yield connection


def rows_at(settings: Settings, repository: Repository, moment: Moment, folder: Path, **more: Any) -> set[int]:
    """The rows of the traffic that the database had at a moment."""
    with recovered(settings, repository, moment, folder, **more) as connection:
        return set(values(connection, "SELECT id FROM traffic"))


def commit_times(server: ScratchServer) -> dict[int, datetime]:
    """When each row of the traffic was committed, as the log has it (`track_commit_timestamp`)."""
    with server.connect() as connection:
        return dict(connection.execute("SELECT id, pg_xact_commit_timestamp(xmin) FROM traffic").fetchall())


@contextmanager
def standby_of(primary: ScratchServer) -> Iterator[ScratchServer]:
    """A standby that streams from a primary, with the same roles and passwords, at a port of its own."""
    account = primary.server.account
    home = primary.folder / "standby"
    home.mkdir(mode=0o700)
    passfile = home / "pgpass"
    port = free_port()
    ours = (primary.folder / "pgpass").read_text()
    passfile.write_text(ours)
    passfile.chmod(0o600)
    (primary.folder / "pgpass").write_text(ours + ours.replace(f":{primary.server.port}:", f":{port}:"))
    hand_over(home, account)
    hand_over(passfile, account)
    source = primary.dsn(passfile=str(passfile), sslmode="disable", gssencmode="disable")
    with primary.connect() as connection:
        connection.execute("SELECT pg_create_physical_replication_slot('standby', true)")
    clone_cluster(primary.server.programs, source, home / "data", slot="standby", account=account)
    server = Server(
        primary.server.programs,
        home / "data",
        log_file=primary.folder / "standby.log",
        options={
            "listen_addresses": HOST,
            "port": str(port),
            "unix_socket_directories": "",
            "primary_conninfo": source,
            "primary_slot_name": "standby",
        },
        account=account,
    )
    made = ScratchServer(primary.folder, server)
    try:
        server.start()
        yield made
    finally:
        server.stop("immediate")


def either(one: ScratchServer, other: ScratchServer) -> str:
    """A DSN that finds whichever of the two accepts writes, as an application's does."""
    return one.dsn(
        host=f"{HOST},{HOST}", port=f"{one.server.port},{other.server.port}", target_session_attrs="read-write"
    )


def promote(standby: ScratchServer) -> None:
    """Make a standby the primary, on a new timeline that a checkpoint has made known."""
    with standby.connect() as connection:
        assert values(connection, "SELECT pg_promote(true, 60)") == [True]
        connection.execute("CHECKPOINT")
