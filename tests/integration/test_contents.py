"""What a restored server holds is read to its end, within its time, whatever it has locked."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

import psycopg
import pytest

from ops_workflows.errors import DatabaseError, RefusedError
from ops_workflows.faults.source import Source, source
from ops_workflows.postgres.connection import connect
from ops_workflows.progress import SILENT
from ops_workflows.proof import contents
from ops_workflows.proof.contents import find_by_index, read_everything
from ops_workflows.proof.deadline import Deadline
from ops_workflows.proof.drill import drill
from ops_workflows.settings import Settings

LOCKED = ("postgres", "public.locked")


@pytest.fixture(scope="module")
def made(settings: Settings) -> Iterator[Source]:
    with source(settings) as one:
        one.run("CREATE TABLE locked (id int PRIMARY KEY); INSERT INTO locked SELECT generate_series(1, 100)")
        with one.connected() as connection:
            connection.execute("CREATE DATABASE other")
        one.run("CREATE TABLE locked AS SELECT 1 AS id", "other")
        yield one


@pytest.fixture
def locked(made: Source) -> Iterator[Source]:
    """With a lock on a table that nobody gives back."""
    with connect(made.server.dsn()) as holder, holder.transaction(force_rollback=True):
        holder.execute("LOCK TABLE locked")
        yield made


def prepare(made: Source, database: str) -> None:
    with made.connected(database) as connection:
        connection.execute("BEGIN")
        connection.execute("INSERT INTO locked VALUES (0)")
        connection.execute("ALTER TABLE locked ADD COLUMN more int")
        connection.execute(f"PREPARE TRANSACTION '{database}''s own'".encode())


def test_what_prepared_transactions_have_locked_is_read_as_it_is_seen(made: Source) -> None:
    prepare(made, "postgres")
    prepare(made, "other")
    rows = read_everything(made.server, "postgres")
    assert (rows[LOCKED], rows["other", "public.locked"]) == (100, 1)
    assert find_by_index(made.server, "postgres", rows)[LOCKED] == 100


def test_a_drill_waits_for_no_prepared_transaction(made: Source) -> None:
    own = made.at(s3_prefix="prepared")
    prepare(own, "other")
    try:
        own.back_up_and_plant()
    finally:
        own.run("ROLLBACK PREPARED 'other''s own'", "other")
    done = drill(own.settings)
    assert {check.name: check.passed for check in done.checks if check.name in {"booted", "exact", "sound"}} == {
        "booted": True,
        "exact": True,
        "sound": True,
    }


def test_a_deadline_is_kept_while_one_table_is_read(locked: Source) -> None:
    began = time.monotonic()
    with pytest.raises(RefusedError, match="The drill was broken off after 2 s"):
        read_everything(locked.server, "postgres", Deadline(SILENT, 2, "The drill"))
    assert time.monotonic() - began < 10
    assert_nobody_is_at_work(locked)


def test_a_lock_that_nobody_gives_back_is_named(locked: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "_LOCK_SECONDS", 1)
    with pytest.raises(DatabaseError, match=r"Table public\.locked of database postgres cannot be read.*lock timeout"):
        read_everything(locked.server, "postgres")


def test_a_signal_ends_it(locked: Source) -> None:
    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt  # as `ops` takes a SIGTERM

    before = signal.signal(signal.SIGTERM, interrupt)
    timer = threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            read_everything(locked.server, "postgres")
    finally:
        timer.cancel()
        signal.signal(signal.SIGTERM, before)
    assert time.monotonic() - began < 10
    assert_nobody_is_at_work(locked)


def assert_nobody_is_at_work(made: Source) -> None:
    with psycopg.connect(made.server.dsn()) as connection:
        query = "SELECT query FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()"
        assert connection.execute(query).fetchall() == []
