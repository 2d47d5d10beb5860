"""Servers that offer no replication protocol have dumps only, which is said once; one's own server never comes to that.

The service is a real PostgreSQL with the roles of Amazon RDS: its superuser is `rdsadmin`, and nobody else is one. A
second one has a setting of that service, which its own library makes, as the service's libraries make theirs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr

from ops_workflows.backup.defs import wal_archive_position
from ops_workflows.backup.dump import take_dump
from ops_workflows.backup.preflight import dumps_only
from ops_workflows.definitions import defs
from ops_workflows.local.doctor import doctor
from ops_workflows.postgres.cluster import set_password
from ops_workflows.postgres.programs import find_programs
from ops_workflows.proof.defs import canaries
from ops_workflows.proof.restorable import RESTORABLE
from ops_workflows.repository.catalogue import open_repository
from ops_workflows.repository.dumps import Dumps
from ops_workflows.repository.proofs import newest
from ops_workflows.settings import Settings
from tests.support.bucket import change, flipped, is_clean
from tests.support.command import as_environment, ops_here
from tests.support.servers import HOST, ScratchServer, free_port, reachable_folder, scratch_server

RDS = "Amazon RDS offers no replication protocol, so there are dumps (`ops dump`) and neither base backups nor WAL"
CHOSEN = "OPS_BACKUP_METHOD is dumps, so there are dumps (`ops dump`) and neither base backups nor WAL"


@pytest.fixture(scope="module")
def service() -> Iterator[ScratchServer]:
    with scratch_server() as made:
        with made.connect() as connection:
            connection.execute("CREATE TABLE t AS SELECT generate_series(1, 10) AS n")
            connection.execute("CREATE ROLE rds_superuser; CREATE ROLE helper SUPERUSER")
            connection.execute("SET SESSION AUTHORIZATION helper")
            connection.execute("ALTER ROLE postgres RENAME TO rdsadmin")
            connection.execute("RESET SESSION AUTHORIZATION")
            connection.execute("DROP ROLE helper; CREATE ROLE postgres LOGIN CREATEDB CREATEROLE IN ROLE rds_superuser")
            set_password(connection, "postgres", made.password("postgres"))
            connection.execute("ALTER ROLE ops_backup NOREPLICATION")
        yield made


@pytest.fixture(scope="module")
def own_server() -> Iterator[ScratchServer]:
    with scratch_server() as made:
        yield made


@pytest.fixture
def rds(service: ScratchServer, settings: Settings) -> Settings:
    return service.settings(settings)


@pytest.fixture
def self_run(own_server: ScratchServer, settings: Settings) -> Settings:
    return own_server.settings(settings)


@pytest.fixture(params=["recognised", "chosen"])
def dumping(request: pytest.FixtureRequest) -> tuple[Settings, str]:
    """Settings with which there are dumps only, and the sentence that says so."""
    if request.param == "recognised":
        return request.getfixturevalue("rds"), RDS
    return request.getfixturevalue("self_run").model_copy(update={"backup_method": "dumps"}), CHOSEN


def tonight(
    settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch, job: str = "nightly_backup"
) -> tuple[dg.ExecuteInProcessResult, str]:
    """Run a job; its result, and all that was logged."""
    for name, value in as_environment(settings).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(folder)
    with dg.DagsterInstance.ephemeral() as instance:
        done = defs.resolve_job_def(job).execute_in_process(instance=instance, raise_on_error=False)
        said = "\n".join(entry.user_message for entry in instance.all_logs(done.run_id) if not entry.is_dagster_event)
    return done, said


def test_the_night_is_a_dump_and_its_proof(
    dumping: tuple[Settings, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, reason = dumping
    done, said = tonight(settings, tmp_path, monkeypatch)
    assert done.success
    assert said.count(reason) == 1
    assert not done.asset_materializations_for_node("base_backup")
    assert len(done.asset_materializations_for_node("logical_backup")) == 1
    checked = {(each.check_name, each.passed) for each in done.get_asset_check_evaluations()}
    assert checked == {("restorable", True)}
    assert len(Dumps(open_repository(settings)).all()) == 1
    assert is_clean(settings)


def test_status_says_how_much_would_be_lost(dumping: tuple[Settings, str], tmp_path: Path) -> None:
    settings, reason = dumping
    dump = take_dump(settings)
    status = ops_here(settings, tmp_path, "status")
    assert status.code == 1
    assert reason in status.out
    assert f"since dump {dump.id} began" in status.out


@pytest.mark.parametrize("command", ["backup", "wal stream", "wal catch-up"])
def test_whatever_needs_the_protocol_is_refused_with_that_sentence(
    dumping: tuple[Settings, str], tmp_path: Path, command: str
) -> None:
    settings, reason = dumping
    done = ops_here(settings, tmp_path, *command.split())
    assert (done.code, done.out) == (1, "")
    assert done.sentence.startswith(reason)


def test_the_verification_says_it_and_shows_nothing(
    dumping: tuple[Settings, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, reason = dumping
    done, said = tonight(settings, tmp_path, monkeypatch, "verify_backups")
    assert done.success
    assert said.count(reason) == 1
    assert not done.asset_materializations_for_node("backup_proof")
    assert not done.get_asset_check_evaluations()


def test_the_drill_shows_the_newest_dump_to_be_restorable_and_nothing_else(
    dumping: tuple[Settings, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, reason = dumping
    take_dump(settings)
    dump = take_dump(settings)
    done, said = tonight(settings, tmp_path, monkeypatch, "restore_drill")
    assert done.success
    assert said.count(reason) == 1
    assert not done.asset_materializations_for_node("run_restore_drill")
    assert not done.get_asset_check_evaluations()
    (seen,) = done.asset_observations_for_node("run_restore_drill")
    assert seen.asset_key == dg.AssetKey("logical_backup")
    assert seen.metadata["dump_id"].value == dump.id
    assert newest(open_repository(settings), [dump.id])[dump.id][RESTORABLE].passed


def test_a_drill_fails_where_the_newest_dump_is_damaged_or_there_is_none(
    rds: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dumps = Dumps(open_repository(rds, take_dump(rds).system))
    dump = dumps.find("latest")
    change(dumps.repository, dumps.key(dump.id, dump.databases[0].object), flipped)
    done, said = tonight(rds, tmp_path, monkeypatch, "restore_drill")
    assert not done.success
    assert "restorable: " in said
    assert not newest(dumps.repository, [dump.id])[dump.id][RESTORABLE].passed
    dumps.repository.store.delete([dumps.key(dump.id, "dump.json")])
    assert not tonight(rds, tmp_path, monkeypatch, "restore_drill")[0].success


@pytest.mark.parametrize("sensor", [wal_archive_position, canaries], ids=lambda sensor: str(sensor.name))
def test_sensors_skip_with_the_same_sentence(
    dumping: tuple[Settings, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sensor: dg.SensorDefinition
) -> None:
    settings, reason = dumping
    for name, value in as_environment(settings).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    with dg.DagsterInstance.ephemeral() as instance:
        skipped = sensor(dg.build_sensor_context(instance))
    assert isinstance(skipped, dg.SkipReason)
    assert str(skipped.skip_message).startswith(reason)


def test_the_doctor_says_it_and_asks_for_nothing_that_cannot_be_had(rds: Settings, self_run: Settings) -> None:
    found = {each.name: each for each in doctor(rds)}
    assert found["base backups"].state == "warning"
    assert found["base backups"].what.startswith(RDS)
    assert not found.keys() & {"REPLICATION", "replication", "WAL senders", "wal_level"}
    assert "base backups" not in {each.name for each in doctor(self_run)}


def test_physical_is_never_downgraded(rds: Settings, tmp_path: Path) -> None:
    physical = rds.model_copy(update={"backup_method": "physical"})
    assert dumps_only(physical) is None
    assert ops_here(physical, tmp_path, "backup").sentence.startswith(RDS)


@contextmanager
def superuser(server: ScratchServer) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """Of the service, whom only the service can be."""
    with psycopg.connect(server.dsn("rdsadmin", password=server.password("postgres")), autocommit=True) as connection:
        yield connection


def test_a_role_with_replication_whom_the_service_does_not_let_in(service: ScratchServer, rds: Settings) -> None:
    """As Cloud SQL and Azure do: REPLICATION can be had, for logical replication."""
    access = service.server.data_dir / "pg_hba.conf"
    before = access.read_text()
    with superuser(service) as connection:
        connection.execute("ALTER ROLE ops_backup REPLICATION")
        try:
            assert dumps_only(rds) is None  # it lets us in, so it is no service of that kind
            access.write_text(f"host all all {HOST}/32 scram-sha-256\n")
            connection.execute("SELECT pg_reload_conf()")
            assert (dumps_only(rds) or "").startswith(RDS)
        finally:
            access.write_text(before)
            connection.execute("ALTER ROLE ops_backup NOREPLICATION; SELECT pg_reload_conf()")


def without_replication(server: ScratchServer, *more: str) -> None:
    with server.connect() as connection:
        connection.execute("ALTER ROLE ops_backup NOREPLICATION")
        for statement in more:
            connection.execute(statement.encode())


def test_a_role_that_merely_lacks_replication_is_an_error_every_night(
    own_server: ScratchServer, self_run: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_replication(own_server)
    assert dumps_only(self_run) is None
    done, _ = tonight(self_run, tmp_path, monkeypatch)
    assert not done.success
    refused = ops_here(self_run, tmp_path, "backup")
    assert refused.code == 1
    assert "Role ops_backup may not replicate: ALTER ROLE ops_backup REPLICATION" in refused.sentence


@pytest.mark.parametrize("role", ["rds_superuser", "cloudsqlsuperuser", "azure_pg_admin"])
def test_a_server_of_ones_own_that_came_from_a_service_is_none(
    own_server: ScratchServer, self_run: Settings, tmp_path: Path, role: str
) -> None:
    """Its roles, and what they set, came along in a dump of the service."""
    create = sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)).as_string()
    without_replication(own_server, create, "ALTER ROLE ops_backup SET rds.extensions = 'amcheck'")
    assert dumps_only(self_run) is None
    assert "ALTER ROLE ops_backup REPLICATION" in ops_here(self_run, tmp_path, "backup").sentence


def test_a_server_that_lets_nobody_replicate_by_pg_hba_is_to_be_mended(
    own_server: ScratchServer, self_run: Settings, tmp_path: Path
) -> None:
    access = own_server.server.data_dir / "pg_hba.conf"
    before = access.read_text()
    with own_server.connect() as connection:
        connection.execute("ALTER ROLE ops_backup REPLICATION")
        try:
            access.write_text(f"host all all {HOST}/32 scram-sha-256\n")
            connection.execute("SELECT pg_reload_conf()")
            assert dumps_only(self_run) is None
            refused = ops_here(self_run, tmp_path, "backup")
        finally:
            access.write_text(before)
            connection.execute("SELECT pg_reload_conf()")
    assert refused.code == 1
    assert "no pg_hba.conf entry" in refused.sentence
    assert "allow this role" in refused.sentence


def test_a_service_is_known_by_its_settings_alone(settings: Settings) -> None:
    """A superuser of its own, none of the roles; the setting's name is put into a module where its own was."""
    module = find_programs(None, 18).bin_dir.parent / "lib/auth_delay.so"
    own, name = b"auth_delay.milliseconds\0", b"rds.extensions\0"
    with reachable_folder() as folder:
        library = folder / "rds.so"
        library.write_bytes(module.read_bytes().replace(own, name.ljust(len(own), b"\0")))
        with scratch_server(shared_preload_libraries=str(library)) as server:
            without_replication(server)
            assert (dumps_only(server.settings(settings)) or "").startswith(RDS)


def test_a_setting_that_nothing_defines_is_no_sign_of_one(own_server: ScratchServer, self_run: Settings) -> None:
    """Such as `ALTER SYSTEM` and `ALTER DATABASE` leave of the service that a server's database came from."""
    without_replication(
        own_server, "ALTER SYSTEM SET rds.extensions = 'amcheck'", "ALTER DATABASE postgres SET rds.extensions = 'none'"
    )
    with own_server.connect() as connection:
        connection.execute("SELECT pg_reload_conf()")
    assert dumps_only(self_run) is None


def test_where_no_server_is_named_nothing_is_known(self_run: Settings) -> None:
    assert dumps_only(self_run.model_copy(update={"backup_dsn": None})) is None


def test_a_server_that_does_not_answer_is_not_taken_for_one(own_server: ScratchServer, self_run: Settings) -> None:
    nobody_there = SecretStr(own_server.dsn(port=free_port()))
    assert dumps_only(self_run.model_copy(update={"backup_dsn": nobody_there})) is None
