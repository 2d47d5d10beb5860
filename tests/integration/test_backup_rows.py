"""What is counted for a backup holds for every restore of it, whatever others did on the source meanwhile."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest
from pydantic import SecretStr

from ops_workflows.backup import lock
from ops_workflows.backup.take import take_backup
from ops_workflows.errors import RefusedError
from ops_workflows.postgres.connection import connect
from ops_workflows.postgres.processes import wait_until
from ops_workflows.proof.booted import booted
from ops_workflows.proof.restoration import Restoration
from ops_workflows.proof.rungs import Climb
from ops_workflows.repository.backup import Backup, RowsRecord
from ops_workflows.repository.catalogue import open_repository
from ops_workflows.settings import Settings
from tests.support.continuous import standby_of, values
from tests.support.heard import Heard
from tests.support.servers import ScratchServer, fill_with_noise, scratch_server

NOISE = 24  # megabytes: more than what sockets hold, so that the server has not ended before we hear that it began
START, COUNT = "back up", "count rows"  # phases: the stop LSN lies between their beginnings
ROWS = 20_000
TIMEOUTS = ("idle_session_timeout", "idle_in_transaction_session_timeout", "transaction_timeout")


@pytest.fixture(scope="module")
def server() -> Iterator[ScratchServer]:
    with scratch_server(autovacuum="off") as made:
        fill_with_noise(made, NOISE)
        with made.connect() as connection:
            connection.execute("CREATE TABLE log (id bigint GENERATED ALWAYS AS IDENTITY, word text)")
            connection.execute(f"INSERT INTO log (word) SELECT md5(n::text) FROM generate_series(1, {ROWS}) n")
        yield made


class At(Heard):
    """Does something when a phase of a backup begins."""

    def __init__(self, acts: Mapping[str, Callable[[], object]]) -> None:
        super().__init__()
        self._acts = dict(acts)

    def begin(self, phase: str, total: int | None, unit: str = "") -> None:
        super().begin(phase, total, unit)
        if act := self._acts.pop(phase, None):
            act()


def executing(server: ScratchServer, *statements: str, database: str = "postgres") -> Callable[[], None]:
    """What runs statements on the server, each a transaction of its own."""

    def execute() -> None:
        with server.connect(database) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    return execute


@contextmanager
def restored(
    settings: Settings, server: ScratchServer, backup: Backup
) -> Iterator[tuple[RowsRecord, Climb, Restoration]]:
    """What was expected of a backup, what its restore was found to be, and that restore itself."""
    repository = open_repository(settings, server.system)
    expected = repository.rows(backup)
    assert expected is not None
    with Restoration(settings, repository, backup) as restoration:
        yield expected, booted(restoration), restoration


def counted(record: RowsRecord, database: str = "postgres") -> dict[str, int]:
    return {table.table: table.rows for table in record.tables if table.database == database}


@contextmanager
def writing(server: ScratchServer) -> Iterator[list[int]]:
    """Inserts, updates and deletes without a pause for the length of a `with`; counts its rounds."""
    over, rounds = threading.Event(), [0]

    def write() -> None:
        with server.connect() as connection:
            while not over.is_set():
                connection.execute("INSERT INTO log (word) SELECT md5(n::text) FROM generate_series(1, 20) n")
                connection.execute("UPDATE log SET word = 'changed' WHERE id % 997 = random(0, 996)")
                connection.execute("DELETE FROM log WHERE id % 1499 = random(0, 1498)")
                rounds[0] += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert wait_until(lambda: rounds[0] > 0, 10)
        yield rounds
    finally:
        over.set()
        writer.join()


def test_with_writes_going_on_it_is_compared_from_below(server: ScratchServer, settings: Settings) -> None:
    own = server.settings(settings)
    with writing(server) as rounds:
        before = rounds[0]
        backup = take_backup(own)
        assert rounds[0] > before
    with restored(own, server, backup) as (expected, found, _):
        assert not expected.exact
        assert found.passed, found.finding
        assert "from below" in found.finding
    with server.connect() as connection:
        (now,) = values(connection, "SELECT count(*) FROM log")
    assert 0.5 * now < counted(expected)["public.log"] <= now  # a bound that is worth something


def test_rows_of_an_open_transaction_and_its_savepoints_are_not_expected(
    server: ScratchServer, settings: Settings
) -> None:
    own = server.settings(settings)
    executing(server, "CREATE TABLE saved (n int)", "INSERT INTO saved VALUES (1), (2), (3)")()
    with server.connect() as writer:
        writer.execute("BEGIN")
        writer.execute("INSERT INTO saved VALUES (4)")
        writer.execute("SAVEPOINT here")
        writer.execute("INSERT INTO saved SELECT generate_series(5, 50)")
        executing(server, "INSERT INTO saved VALUES (51)")()  # newer, and ended
        backup = take_backup(own, At({COUNT: lambda: writer.execute("COMMIT")}))
    with restored(own, server, backup) as (expected, found, restoration):
        assert not expected.exact
        assert counted(expected)["public.saved"] == 3
        assert restoration.rows["postgres", "public.saved"] == 4
        assert found.passed, found.finding


def test_a_commit_that_waits_for_a_standby_is_in_the_backup_before_anybody_sees_it(
    server: ScratchServer, settings: Settings
) -> None:
    own = server.settings(settings)
    executing(server, "CREATE TABLE waited AS SELECT n FROM generate_series(1, 10) n", "CREATE TABLE leaves ()")()
    reload = "SELECT pg_reload_conf()"
    with ThreadPoolExecutor(1) as pool, server.connect() as connection:
        try:
            executing(server, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'", reload)()
            query = "DELETE FROM waited WHERE n > 4; INSERT INTO waited VALUES (11); DROP TABLE leaves"
            waiting = pool.submit(executing(server, query))
            waits = "SELECT true FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
            assert wait_until(lambda: values(connection, waits) == [True], 10)
            backup = take_backup(own)
            assert not waiting.done()
        finally:
            executing(server, "ALTER SYSTEM RESET synchronous_standby_names", reload)()
    with restored(own, server, backup) as (expected, found, restoration):
        assert not expected.exact
        assert counted(expected)["public.waited"] == 4
        assert restoration.rows["postgres", "public.waited"] == 5
        assert found.passed, found.finding


def test_what_changes_and_changes_back_while_the_backup_runs_is_not_claimed(
    server: ScratchServer, settings: Settings
) -> None:
    own = server.settings(settings)
    executing(
        server,
        "CREATE TABLE busy (id int PRIMARY KEY, n int)",
        "CREATE INDEX busy_n ON busy (n)",
        "CREATE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "CREATE TRIGGER acting BEFORE INSERT ON busy FOR EACH ROW EXECUTE FUNCTION act()",
        "CREATE TABLE partition AS SELECT n FROM generate_series(1, 5) n",
        "CREATE TABLE partition_new AS SELECT n FROM generate_series(1, 500) n",
        "CREATE TABLE gone AS SELECT 1 AS n",
        "CREATE DATABASE sold",
    )()
    there = executing(
        server,
        "CREATE TABLE staging AS SELECT 1 AS n",
        "DROP INDEX busy_n",
        "ALTER TABLE busy DISABLE TRIGGER acting",
        "CREATE OR REPLACE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'",
        "DROP TABLE gone",
        "ALTER DATABASE sold RENAME TO elsewhere",
    )
    back = executing(
        server,
        "DROP TABLE staging",
        "CREATE INDEX busy_n ON busy (n)",
        "ALTER TABLE busy ENABLE TRIGGER acting",
        "CREATE OR REPLACE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "CREATE TABLE gone AS SELECT 1 AS n",
        "ALTER TABLE partition RENAME TO partition_old",
        "ALTER TABLE partition_new RENAME TO partition",
        "ALTER DATABASE elsewhere RENAME TO sold",
    )
    heard = At({START: there, COUNT: back})
    backup = take_backup(own, heard)
    with restored(own, server, backup) as (expected, found, restoration):
        schema = restoration.schemas["postgres"]
        assert "relation public.staging" in schema
        assert {"index public.busy_n on public.busy", "relation public.gone"}.isdisjoint(schema)
        assert "sold" not in restoration.schemas
        assert restoration.rows["postgres", "public.partition"] == 5
        assert found.passed, found.finding
    names = {
        "index public.busy_n on public.busy",
        "trigger acting on public.busy",
        "function public.act()",
        "relation public.gone",
    }
    assert names <= set(expected.changing["postgres"])
    assert {"relation public.busy", "column public.busy.n", "relation public.log"} <= set(expected.schemas["postgres"])
    uncounted = {"postgres: public.partition", "postgres: public.gone", "sold: every table"}
    assert uncounted <= set(expected.uncounted)
    assert any("database sold are not counted" in said for said in heard.sentences), heard.sentences


def test_what_changes_while_rows_are_counted_is_not_claimed(server: ScratchServer, settings: Settings) -> None:
    """The count's own snapshot keeps neither a table from being emptied nor a name from passing to another table."""
    own = server.settings(settings)
    executing(
        server,
        "CREATE TABLE z_emptied AS SELECT n FROM generate_series(1, 5) n",
        "CREATE TABLE z_swapped AS SELECT n FROM generate_series(1, 5) n",
        "CREATE TABLE z_swapped_new AS SELECT n FROM generate_series(1, 500) n",
    )()
    acts = [
        executing(
            server,
            "TRUNCATE z_emptied",
            "ALTER TABLE z_swapped RENAME TO z_swapped_old",
            "ALTER TABLE z_swapped_new RENAME TO z_swapped",
        )
    ]

    class Meddling(Heard):
        def advance(self, _done: int) -> None:
            if self.phases[-1:] == [COUNT] and acts:
                acts.pop()()

    backup = take_backup(own, Meddling())
    assert not acts
    with restored(own, server, backup) as (expected, found, restoration):
        assert not expected.exact
        assert restoration.rows["postgres", "public.z_emptied"] == 5
        assert restoration.rows["postgres", "public.z_swapped"] == 5
        assert found.passed, found.finding


def test_a_table_that_somebody_locks_is_left_uncounted(
    server: ScratchServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops_workflows.backup.rows._LOCK_SECONDS", 1)
    own = server.settings(settings)
    with server.connect() as holder, holder.transaction():
        holder.execute("LOCK TABLE log IN ACCESS EXCLUSIVE MODE")
        backup = take_backup(own)
    expected = open_repository(own, server.system).rows(backup)
    assert expected is not None
    assert expected.uncounted == ("postgres: public.log",)


def test_a_standby_knows_less_of_what_is_open(settings: Settings) -> None:
    with scratch_server(autovacuum="off") as primary, standby_of(primary) as standby:
        fill_with_noise(primary, NOISE)
        executing(primary, "CREATE TABLE streamed (n int)", "INSERT INTO streamed VALUES (1), (2), (3)")()
        own = primary.settings(settings, standby_dsn=SecretStr(standby.dsn()))

        def follow() -> None:
            with primary.connect() as there, standby.connect() as here:
                (end,) = values(there, "SELECT pg_current_wal_flush_lsn()")
                assert wait_until(lambda: values(here, f"SELECT pg_last_wal_replay_lsn() >= '{end}'") == [True], 30)

        def write_down() -> None:
            """What a standby has replayed it need not have written: this takes the stop LSN behind the beginning."""
            executing(primary, "CHECKPOINT")()
            follow()
            executing(standby, "CHECKPOINT")()

        with primary.connect() as writer:
            writer.execute("BEGIN")
            writer.execute("INSERT INTO streamed SELECT generate_series(4, 50)")
            executing(primary, "INSERT INTO streamed VALUES (51)")()
            follow()

            def commit() -> None:
                writer.execute("COMMIT")
                follow()

            backup = take_backup(own, At({START: write_down, COUNT: commit}))
        assert backup.from_standby
        with restored(own, primary, backup) as (expected, found, restoration):
            assert not expected.exact
            assert restoration.rows["postgres", "public.streamed"] == 4
            assert found.passed, found.finding
        quiet = take_backup(own, At({START: write_down}))
        assert quiet.from_standby
        with restored(own, primary, quiet) as (expected, found, _):
            assert expected.exact
            assert counted(expected)["public.streamed"] == 51
            assert found.passed, found.finding


def test_a_server_that_stops_while_rows_are_counted_is_given_up(server: ScratchServer, settings: Settings) -> None:
    own = server.settings(settings, stall_seconds=5, connect_timeout_seconds=3)
    stopped: list[int] = []

    class Stopping(Heard):
        def advance(self, _done: int) -> None:
            if self.phases[-1:] == [COUNT] and not stopped:
                stopped.extend(process.pid for process in server.server.running_processes())
                for pid in stopped:
                    os.kill(pid, signal.SIGSTOP)

    heard = Stopping()
    try:
        backup = take_backup(own, heard)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    assert stopped
    assert any("database postgres are not counted" in said and "silent for" in said for said in heard.sentences)
    assert open_repository(own, server.system).backups() == [backup]
    assert not backup.has("rows.json")


def test_idling_does_not_cost_the_lock(server: ScratchServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_PATIENCE_SECONDS", 0)
    executing(server, *(f"ALTER ROLE ops_backup SET {name} = '500ms'" for name in TIMEOUTS))()
    try:
        with connect(server.dsn()) as holder, lock.backup_lock(holder), connect(server.dsn()) as other:
            time.sleep(1.5)
            with pytest.raises(psycopg.Error), other.transaction():
                other.execute("SELECT 1")
            with (
                connect(server.dsn()) as second,
                pytest.raises(RefusedError, match="Another backup of this cluster is running"),
                lock.backup_lock(second),
            ):
                pass
    finally:
        executing(server, *(f"ALTER ROLE ops_backup RESET {name}" for name in TIMEOUTS))()
