"""Health checks: nothing is found where all is well, and each trouble is, made to happen on real servers."""

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from ops_workflows.analytics.rollup import roll_up_due
from ops_workflows.backup.take import take_backup
from ops_workflows.health.reading import Check, Reading, Severity
from ops_workflows.health.round import Round, look
from ops_workflows.postgres.connection import connect
from ops_workflows.proof.ladder import Ladder
from ops_workflows.repository.catalogue import open_repository
from ops_workflows.repository.rungs import Rung
from ops_workflows.schema.apply import migrate_up
from ops_workflows.settings import Settings
from ops_workflows.storage.store import open_store
from tests.support.command import ops, ops_here
from tests.support.continuous import promote, receiving, standby_of
from tests.support.majors import NEWEST, OLDEST, server_of
from tests.support.schema import MIGRATIONS, rows, wait_for
from tests.support.servers import HOST, ScratchServer, free_port, scratch_server
from tests.support.valkeys import own_valkey


@dataclass(frozen=True)
class Well:
    """A primary, its standby, the schema, a proved backup, and a receiver of the log."""

    primary: ScratchServer
    standby: ScratchServer
    settings: Settings

    def do(self, statement: str, user: str = "postgres") -> None:
        with connect(self.primary.dsn(user)) as connection:
            connection.execute(statement.encode())


@pytest.fixture(scope="module")
def well(settings: Settings) -> Iterator[Well]:
    with scratch_server() as primary, standby_of(primary) as standby:
        own = primary.settings(
            settings,
            owner_dsn=SecretStr(primary.dsn("ops_owner")),
            health_standby_dsn=SecretStr(standby.dsn()),
            primary_data_dir=primary.server.data_dir,
            system=primary.system,
            wal_flush_seconds=0.2,
        )
        migrate_up(primary.dsn("ops_owner"), MIGRATIONS)
        with receiving(own, primary):
            repository, backup = open_repository(own, primary.system), take_backup(own)
            for climb in Ladder(own, repository).climb(repository.find(backup.id), Rung.BOOTED):
                assert climb.passed, climb.finding
            yield Well(primary, standby, own)


def of(seen: Round, check: Check) -> tuple[Severity, str]:
    reading = seen.of(check)
    return reading.severity, reading.said


def ill(seen: Round) -> dict[Check, Reading]:
    return {each.check: each for each in seen.readings if each.severity is not Severity.OK}


def test_nothing_is_found_where_all_is_well_and_nothing_is_left_behind(well: Well, tmp_path: Path) -> None:
    seen = look(well.settings)
    assert ill(seen) == {}
    assert [each.check for each in seen.readings] == list(Check)
    assert [(each.way, each.is_standby) for each in sorted(seen.sightings, key=lambda each: each.way)] == [
        ("backup_dsn", False),
        ("standby_dsn", True),
        ("upkeep_dsn", False),
    ]
    assert rows(well.primary.dsn(), "SELECT FROM ops.heartbeat") == []
    store = open_store(well.settings)
    assert [*store.objects(f"{well.settings.s3_prefix}/health/")] == []
    assert [*store.versions(f"{well.settings.s3_prefix}/health/")] == []
    shown = ops_here(well.settings, tmp_path, "health")
    assert (shown.code, "critical" in shown.out) == (0, False), shown
    machine = ops_here(well.settings, tmp_path, "health", "--json")
    told = {each["check"]: each for each in json.loads(machine.out)["checks"]}
    assert (machine.code, len(told)) == (0, len(Check))
    assert told["connections"]["threshold_source"] == "OPS_HEALTH_CONNECTIONS"
    assert told["connections"]["warning_from"] == 0.9


def test_what_the_settings_do_not_name_is_left_out_and_told(well: Well) -> None:
    bare = {"health_standby_dsn": None, "redis_url": None, "primary_data_dir": None, "s3_bucket": None}
    seen = look(well.settings.model_copy(update=bare))
    assert len(seen.left_out) == 4
    left = {each.check for each in seen.readings}
    assert not left & {Check.STANDBY, Check.CANARY_ON_STANDBY, Check.VALKEY, Check.DISK, Check.BUCKET}
    assert set(ill(seen)) == {Check.TIMELINE, Check.SYSTEM_IDENTIFIER}, "nothing to compare them with"
    assert seen.severity is Severity.UNKNOWN


def test_open_transactions_and_who_holds_up_whom(well: Well) -> None:
    strict = {
        "health_idle_seconds": "0.05,3600",
        "health_transaction_seconds": "0.05,3600",
        "health_blocked_seconds": "0.01,0.05",
        "health_connections": "0.001,0.002",
    }
    waits = "SELECT FROM pg_locks WHERE NOT granted AND clock_timestamp() - waitstart > interval '0.1 s'"
    with psycopg.connect(well.primary.dsn("ops_owner")) as holder, ExitStack() as over:
        holder.execute("LOCK TABLE users")
        waiter = threading.Thread(target=well.do, args=("SELECT count(*) FROM users",))
        waiter.start()
        over.callback(waiter.join, 10)
        over.callback(holder.rollback)
        wait_for(lambda: bool(rows(well.primary.dsn(), waits)))
        seen = look(well.settings.model_copy(update=strict))
        pid = holder.info.backend_pid
    assert of(seen, Check.IDLE_IN_TRANSACTION)[0] is Severity.WARNING
    assert f"pid {pid}, ops_owner" in of(seen, Check.IDLE_IN_TRANSACTION)[1]
    assert of(seen, Check.OLDEST_TRANSACTION)[0] is Severity.WARNING
    assert f"pid {pid}" in of(seen, Check.OLDEST_TRANSACTION)[1]
    assert of(seen, Check.BLOCKED_SESSIONS)[0] is Severity.CRITICAL
    assert f"1 session waiting for a lock, the longest for 0 s, for pid {pid}." in of(seen, Check.BLOCKED_SESSIONS)[1]
    assert of(seen, Check.CONNECTIONS)[0] is Severity.CRITICAL


def test_a_slot_that_nobody_uses_an_invalid_index_and_a_change_that_waits_for_a_restart(well: Well) -> None:
    well.do("CREATE TABLE twice AS SELECT 1 AS id FROM generate_series(1, 2)")
    with pytest.raises(psycopg.errors.UniqueViolation), well.primary.connect() as connection:
        connection.execute("CREATE UNIQUE INDEX CONCURRENTLY once ON twice (id)")
    well.do("SELECT pg_create_physical_replication_slot('forgotten', true)")
    well.do("ALTER SYSTEM SET max_connections = 101")
    well.do("SELECT pg_reload_conf()")
    try:
        wait_for(lambda: bool(rows(well.primary.dsn(), "SELECT FROM pg_settings WHERE pending_restart")))
        found = ill(look(well.settings))
    finally:
        well.do("ALTER SYSTEM RESET max_connections")
        well.do("SELECT pg_reload_conf()")
        well.do("SELECT pg_drop_replication_slot('forgotten')")
        well.do("DROP TABLE twice")
    assert set(found) == {Check.SLOTS, Check.INVALID_INDEXES, Check.PENDING_RESTART}
    assert {each.severity for each in found.values()} == {Severity.WARNING}
    assert "Slot forgotten is used by nobody" in found[Check.SLOTS].said
    assert "never used: once." in found[Check.INVALID_INDEXES].said
    assert "before a restart: max_connections." in found[Check.PENDING_RESTART].said


def test_a_wrong_password_is_critical_and_what_it_hides_is_unknown(well: Well, tmp_path: Path) -> None:
    wrong = SecretStr(make_conninfo(well.primary.dsn("ops_upkeep"), password="wr0ng"))
    seen = look(well.settings.model_copy(update={"upkeep_dsn": wrong}))
    assert of(seen, Check.TCP)[0] is Severity.OK
    assert of(seen, Check.AUTH)[0] is Severity.CRITICAL
    assert "password authentication failed" in of(seen, Check.AUTH)[1]
    for hidden in (Check.SELECT_1, Check.CANARY_WRITE, Check.ONE_PRIMARY, Check.DIRTY_MIGRATION):
        assert of(seen, hidden)[0] is Severity.UNKNOWN, hidden
    other = SecretStr(make_conninfo(well.primary.dsn(), password="wr0ng"))
    shown = ops_here(well.settings.model_copy(update={"backup_dsn": other}), tmp_path, "health")
    assert shown.code == 3, "what could not be seen is not well, though nothing is known to be critical"
    assert "wr0ng" not in shown.out + shown.err


def test_a_server_that_is_not_there_is_critical_and_the_other_ways_are_looked_at(well: Well) -> None:
    gone = SecretStr(well.primary.dsn("ops_upkeep", port=free_port()))
    seen = look(well.settings.model_copy(update={"upkeep_dsn": gone}))
    assert of(seen, Check.TCP)[0] is Severity.CRITICAL
    assert "Connection refused" in of(seen, Check.TCP)[1]
    for hidden in (Check.AUTH, Check.SELECT_1, Check.CANARY_WRITE, Check.ONE_PRIMARY):
        assert of(seen, hidden)[0] is Severity.UNKNOWN, hidden
    assert of(seen, Check.CONNECTIONS)[0] is Severity.OK
    either = SecretStr(
        well.primary.dsn("ops_upkeep", host=f"{HOST},{HOST}", port=f"{free_port()},{well.primary.server.port}")
    )
    found = look(well.settings.model_copy(update={"upkeep_dsn": either}))
    assert ill(found) == {}, "one of the servers that it names will do"
    assert "Connection refused" in of(found, Check.TCP)[1]


@pytest.mark.parametrize("major", [OLDEST, NEWEST])
def test_servers_of_all_versions_are_understood_over_a_socket_too(major: int, settings: Settings) -> None:
    with server_of(major) as server:
        migrate_up(server.dsn(user="ops_owner"), MIGRATIONS)
        own = {"upkeep_dsn": server.dsn(user="ops_upkeep"), "backup_dsn": server.dsn(user="ops_backup")}
        seen = look(Settings(**own))  # type: ignore[arg-type]  # pydantic makes secrets of them
    assert set(ill(seen)) == {Check.TIMELINE, Check.SYSTEM_IDENTIFIER, Check.CHECKSUM_FAILURES} - (
        set() if major == OLDEST else {Check.CHECKSUM_FAILURES}
    ), ill(seen)


def test_encryption_that_is_asked_for_and_not_there_is_critical(well: Well) -> None:
    asking = SecretStr(well.primary.dsn("ops_upkeep", sslmode="require"))
    seen = look(well.settings.model_copy(update={"upkeep_dsn": asking}))
    assert of(seen, Check.TLS)[0] is Severity.CRITICAL
    assert "does not support SSL" in of(seen, Check.TLS)[1]
    assert of(seen, Check.AUTH)[0] is Severity.UNKNOWN


def test_a_cache_that_does_not_let_us_in_or_lets_everybody_in(well: Well) -> None:
    refused = look(well.settings.model_copy(update={"redis_password": SecretStr("wr0ng")}))
    assert set(ill(refused)) == {Check.VALKEY}
    assert refused.severity is Severity.CRITICAL
    with own_valkey() as port:
        everybody = {"redis_url": SecretStr(f"redis://{HOST}:{port}"), "redis_password": None}
        seen = look(well.settings.model_copy(update=everybody))
    assert of(seen, Check.VALKEY)[0] is Severity.WARNING
    assert "asks nobody for a password" in of(seen, Check.VALKEY)[1]


def test_a_bucket_that_is_away(well: Well) -> None:
    seen = look(well.settings.model_copy(update={"s3_endpoint_url": f"http://{HOST}:{free_port()}"}))
    assert of(seen, Check.BUCKET)[0] is Severity.CRITICAL
    for hidden in (Check.PROVED_BACKUP, Check.TIMELINE, Check.SYSTEM_IDENTIFIER):
        assert of(seen, hidden)[0] is Severity.UNKNOWN, hidden


def test_another_cluster_than_the_one_that_is_meant_or_known(well: Well) -> None:
    meant = look(well.settings.model_copy(update={"system": "7"}))
    assert of(meant, Check.SYSTEM_IDENTIFIER)[0] is Severity.CRITICAL
    key = "known/7/backups/nothing"
    store = open_store(well.settings)
    store.put(key, b"")
    try:
        known = look(well.settings.model_copy(update={"s3_prefix": "known", "system": None}))
    finally:
        store.delete([key])
    assert of(known, Check.SYSTEM_IDENTIFIER)[0] is Severity.CRITICAL
    assert of(known, Check.PROVED_BACKUP)[0] is Severity.CRITICAL


def test_a_migration_that_broke_off_and_one_that_may_be_under_way(well: Well) -> None:
    well.do("UPDATE public.schema_migrations SET dirty = true")
    try:
        broken = look(well.settings)
        with well.primary.connect() as migrating:
            migrating.execute("SELECT pg_advisory_lock(1)")
            busy = look(well.settings)
    finally:
        well.do("UPDATE public.schema_migrations SET dirty = false")
    assert of(broken, Check.DIRTY_MIGRATION)[0] is Severity.CRITICAL
    assert of(busy, Check.DIRTY_MIGRATION)[0] is Severity.WARNING


def test_hours_that_wait_for_their_statistics_and_are_well_once_they_have_them(well: Well) -> None:
    insert = "INSERT INTO query_log (query_type, created_at) VALUES ('tithi', now() - interval '{} hours')"
    well.do(insert.format(1))
    assert of(look(well.settings), Check.STALE_ROLLUP)[0] is Severity.OK, "it is due only at the end of its hour"
    well.do(insert.format(5))
    assert of(look(well.settings), Check.STALE_ROLLUP)[0] is Severity.WARNING
    well.do(insert.format(30))
    assert of(look(well.settings), Check.STALE_ROLLUP)[0] is Severity.CRITICAL
    roll_up_due(well.primary.dsn("ops_upkeep"))
    assert of(look(well.settings), Check.STALE_ROLLUP)[0] is Severity.OK


def test_a_log_that_nobody_ships(well: Well) -> None:
    seen = look(well.settings.model_copy(update={"wal_slot": "nobodys"}))
    assert of(seen, Check.WAL_SHIPPING)[0] is Severity.CRITICAL
    assert "nobodys" in of(seen, Check.WAL_SHIPPING)[1]


def test_a_standby_that_is_stopped(well: Well) -> None:
    well.standby.server.stop()
    streams = "SELECT FROM pg_replication_slots WHERE slot_name = 'standby' AND active"
    try:
        wait_for(lambda: not rows(well.primary.dsn(), streams))
        seen = look(well.settings)
    finally:
        well.standby.server.start()
        wait_for(lambda: bool(rows(well.primary.dsn(), streams)))
    for check in (Check.STANDBY, Check.LAG_BYTES, Check.LAG_SECONDS):
        assert of(seen, check)[0] is Severity.CRITICAL, check
    for check in (Check.CANARY_ON_STANDBY, Check.ONE_PRIMARY):
        assert of(seen, check)[0] is Severity.UNKNOWN, check
    assert of(seen, Check.CANARY_WRITE)[0] is Severity.OK
    assert rows(well.primary.dsn(), "SELECT FROM ops.heartbeat") == []


def test_a_standby_that_replays_nothing(well: Well) -> None:
    with well.standby.connect() as connection:
        connection.execute("SELECT pg_wal_replay_pause()")
        try:
            wait_for(lambda: rows(well.standby.dsn(), "SELECT pg_get_wal_replay_pause_state()") == [("paused",)])
            seen = look(well.settings)
        finally:
            connection.execute("SELECT pg_wal_replay_resume()")
    assert of(seen, Check.STANDBY)[0] is Severity.WARNING
    assert of(seen, Check.CANARY_ON_STANDBY)[0] is Severity.WARNING
    assert "is not on the standby" in of(seen, Check.CANARY_ON_STANDBY)[1]


@contextmanager
def stopped(*servers: ScratchServer) -> Iterator[None]:
    """Servers that are there, and do nothing: their kernel takes connections, and nobody answers."""
    with ExitStack() as over:
        for each in servers:
            process = each.server.postmaster()
            assert process is not None
            os.kill(process.pid, signal.SIGSTOP)
            over.callback(os.kill, process.pid, signal.SIGCONT)
        yield


@contextmanager
def silent() -> Iterator[int]:
    """A port that takes connections, reads all and never answers."""

    def read(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while connection.recv(65_536):
                pass

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                threading.Thread(target=read, args=(connection,), daemon=True).start()

    with socket.create_server((HOST, 0)) as listening:
        threading.Thread(target=accept, daemon=True).start()
        yield int(listening.getsockname()[1])
        listening.shutdown(socket.SHUT_RDWR)


def test_where_everything_hangs_a_round_is_over_within_ten_seconds(well: Well, tmp_path: Path) -> None:
    with stopped(well.primary, well.standby), silent() as port:
        hanging = well.settings.model_copy(
            update={"s3_endpoint_url": f"http://{HOST}:{port}", "redis_url": SecretStr(f"redis://{HOST}:{port}")}
        )
        began = time.monotonic()
        seen = look(hanging)
        taken = time.monotonic() - began
        began = time.monotonic()
        shown = ops(hanging, tmp_path, "health", timeout=60)
        whole = time.monotonic() - began
    assert taken <= 10, taken
    assert {each.check for each in seen.readings if each.severity is Severity.OK} == {Check.TCP, Check.DISK}
    critical = {each.check for each in seen.readings if each.severity is Severity.CRITICAL}
    assert critical == {Check.AUTH, Check.STANDBY, Check.VALKEY, Check.BUCKET}
    assert [each.check for each in seen.readings] == list(Check), "each is told of"
    assert shown.code == 1, shown
    assert whole < 20, "no thread keeps the process: it takes its start and the same time again"
    assert ill(look(well.settings)) == {}, "nothing is left of it"


def test_a_second_primary(well: Well) -> None:
    promote(well.standby)
    seen = look(well.settings)
    assert of(seen, Check.ONE_PRIMARY)[0] is Severity.CRITICAL
    assert "2 servers accept writes" in of(seen, Check.ONE_PRIMARY)[1]
    assert of(seen, Check.TIMELINE)[0] is Severity.CRITICAL
    assert of(seen, Check.STANDBY)[0] is Severity.CRITICAL
