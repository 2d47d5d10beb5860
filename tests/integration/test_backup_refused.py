"""Backups that cannot be begun: each says what stands in the way and what to do, and leaves nothing in the bucket."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from ops_workflows.backup import lock
from ops_workflows.postgres.cluster import set_password
from ops_workflows.postgres.replication import ReplicationConnection
from ops_workflows.settings import Settings
from tests.support.bucket import backup_keys, is_clean
from tests.support.command import ops_here
from tests.support.servers import ScratchServer, free_port, scratch_server


@pytest.fixture(scope="module")
def server(settings: Settings) -> Iterator[ScratchServer]:
    with scratch_server(max_wal_senders="2", max_replication_slots="2") as made:
        yield made


@pytest.fixture
def own(server: ScratchServer, settings: Settings) -> Settings:
    return server.settings(settings, s3_attempts=2, connect_timeout_seconds=3, s3_timeout_seconds=3, stall_seconds=5)


def refused(settings: Settings, folder: Path, *, bucket_answers: bool = True) -> str:
    """Run `ops backup`; it fails with one sentence and without a secret or a traceback, which is returned."""
    ended = ops_here(settings, folder, "backup")
    assert ended.code == 1, ended
    assert ended.out == ""
    assert "Traceback" not in ended.err
    for name in ("s3_secret_access_key", "s3_access_key_id"):
        assert settings.require(name) not in ended.err
    if bucket_answers:
        assert is_clean(settings)
    return ended.sentence


def with_dsn(settings: Settings, **more: str | int) -> Settings:
    return settings.model_copy(update={"backup_dsn": SecretStr(make_conninfo(settings.require("backup_dsn"), **more))})


def test_the_server_is_down(own: Settings, tmp_path: Path) -> None:
    port = free_port()
    said = refused(with_dsn(own, port=port), tmp_path)
    assert f"Cannot connect to PostgreSQL as ops_backup at 127.0.0.1:{port}" in said
    assert "start the server" in said


def test_a_wrong_password(own: Settings, tmp_path: Path) -> None:
    said = refused(with_dsn(own, password="hunter2"), tmp_path)
    assert "password authentication failed" in said
    assert "correct the password" in said
    assert "hunter2" not in said


def test_no_password(own: Settings, tmp_path: Path) -> None:
    said = refused(with_dsn(own, passfile="/dev/null"), tmp_path)
    assert "no password supplied" in said
    assert "name a passfile" in said


def test_a_database_that_is_not_there(own: Settings, tmp_path: Path) -> None:
    said = refused(with_dsn(own, dbname="nothing_here"), tmp_path)
    assert '"nothing_here" does not exist' in said


def test_a_dsn_that_cannot_be_read_is_not_repeated(own: Settings, tmp_path: Path) -> None:
    said = refused(own.model_copy(update={"backup_dsn": SecretStr("postgres//hunter2@")}), tmp_path)
    assert "cannot be read" in said
    assert "hunter2" not in said


def test_no_dsn(own: Settings, tmp_path: Path) -> None:
    assert "OPS_BACKUP_DSN is not set" in refused(own.model_copy(update={"backup_dsn": None}), tmp_path)


def test_a_role_without_replication(server: ScratchServer, own: Settings, tmp_path: Path) -> None:
    said = refused(with_dsn(own, user="ops_owner"), tmp_path)
    assert "Role ops_owner may not replicate: ALTER ROLE ops_owner REPLICATION" in said


@dataclass(frozen=True)
class Wrong:
    """One setting of the bucket that is wrong, and what is said of it."""

    update: dict[str, object]
    says: tuple[str, ...]


@pytest.mark.parametrize(
    "wrong",
    [
        Wrong({"s3_bucket": "not-there"}, ("not-there", "OPS_S3_BUCKET")),
        Wrong({"s3_bucket": None}, ("OPS_S3_BUCKET is not set",)),
        Wrong({"s3_access_key_id": SecretStr("AKIAWRONG")}, ("OPS_S3_ACCESS_KEY_ID",)),
        Wrong({"s3_secret_access_key": SecretStr("hunter2hunter2")}, ("OPS_S3_SECRET_ACCESS_KEY",)),
        Wrong({"s3_secret_access_key": None}, ("Set both", "OPS_S3_SECRET_ACCESS_KEY")),
        Wrong({"s3_endpoint_url": "not a url"}, ("OPS_S3_ENDPOINT_URL",)),
    ],
    ids=["bucket", "no-bucket", "key", "secret", "half-a-key", "endpoint"],
)
def test_a_wrong_setting_of_the_bucket(own: Settings, tmp_path: Path, wrong: Wrong) -> None:
    said = ops_here(own.model_copy(update=wrong.update), tmp_path, "backup")
    assert said.code == 1, said
    assert "Traceback" not in said.err
    assert all(part in said.sentence for part in wrong.says), said.sentence
    assert "hunter2" not in said.err
    assert is_clean(own)


def test_an_s3_server_that_is_down(own: Settings, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    said = refused(own.model_copy(update={"s3_endpoint_url": url}), tmp_path, bucket_answers=False)
    assert url in said
    assert "OPS_S3_ENDPOINT_URL" in said


def test_no_free_wal_sender(server: ScratchServer, own: Settings, tmp_path: Path) -> None:
    with ExitStack() as taken:
        for _ in range(2):
            connection = ReplicationConnection(own.require("backup_dsn"), timeout=5, stall_seconds=5)
            taken.enter_context(connection)
        said = refused(own, tmp_path)
    assert "No free WAL sender: 2 of max_wal_senders = 2 are in use. Raise max_wal_senders" in said


def test_wal_level_minimal(settings: Settings, tmp_path: Path) -> None:
    with scratch_server(wal_level="minimal", max_wal_senders="0", summarize_wal="off") as server:
        said = refused(server.settings(settings), tmp_path)
    assert "wal_level is minimal, so no base backup is possible: set wal_level = replica" in said


def test_a_second_backup_is_refused_and_names_the_first(
    server: ScratchServer, own: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The lock is what a running backup holds; here somebody holds it for as long as the second one is patient.
    monkeypatch.setattr(lock, "_PATIENCE_SECONDS", 1)
    with server.connect() as holder:
        holder.execute("SET application_name = 'ops_workflows backup'")
        holder.execute(f"SELECT pg_advisory_lock({0x6F70735F62617365})")
        said = refused(own, tmp_path)
        pid = holder.info.backend_pid
    assert "Another backup of this cluster is running" in said
    assert f"process {pid} (ops_workflows backup)" in said


def test_a_role_that_may_not_read_is_told_and_backed_up_without_a_count(
    server: ScratchServer, own: Settings, tmp_path: Path
) -> None:
    with server.connect() as connection:
        connection.execute("DROP ROLE IF EXISTS blind")
        connection.execute("CREATE ROLE blind LOGIN REPLICATION")
        set_password(connection, "blind", "see-nothing")
        connection.execute("CREATE TABLE IF NOT EXISTS unseen AS SELECT 1 AS one")
    ended = ops_here(with_dsn(own, user="blind", password="see-nothing"), tmp_path, "backup")
    assert ended.code == 0, ended
    assert "may not read all tables, so rows cannot be counted: GRANT pg_read_all_data" in ended.err
    assert "see-nothing" not in ended.err + ended.out
    assert len(backup_keys(own)) == 3  # archive, manifest and record, and no count
    assert not any("rows.json" in key for key in backup_keys(own))
