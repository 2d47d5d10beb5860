"""`ops doctor`: silent about what is well, and a sentence with a remedy for each thing that is not."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from ops_workflows.local.doctor import doctor
from ops_workflows.local.findings import Finding
from ops_workflows.local.stack import SERVICES, Stack
from ops_workflows.postgres.account import server_account
from ops_workflows.postgres.cluster import create_cluster
from ops_workflows.postgres.programs import find_programs
from ops_workflows.postgres.replication import ReplicationConnection
from ops_workflows.postgres.server import Server
from ops_workflows.settings import Settings
from ops_workflows.storage.encryption import new_identity
from ops_workflows.storage.store import open_store
from tests.support.bucket import forbidden, keys

Superuser = Callable[..., psycopg.Connection[Any]]


def wrong(settings: Settings) -> dict[str, Finding]:
    """What is not well, apart from libraries of extensions, which depend on the machine."""
    found = doctor(settings)
    assert all(finding.what for finding in found)
    assert all(finding.do for finding in found if finding.state == "warning")
    return {each.name: each for each in found if each.state != "ok" and each.name != "library of an extension"}


def test_the_embedded_stack_is_well(settings: Settings) -> None:
    assert wrong(settings) == {}


def test_without_any_settings_it_names_all_that_is_missing(tmp_path: Path) -> None:
    findings = wrong(Settings.read(tmp_path).model_copy(update={"home": tmp_path / ".ops"}))
    assert {name: finding.state for name, finding in findings.items() if name != "scratch folder"} == {
        "role for backups": "error",
        "role for migrations": "warning",
        "role for heartbeats and upkeep": "warning",
        "Dagster's storage": "warning",
        "bucket": "error",
    }
    assert "OPS_BACKUP_DSN" in findings["role for backups"].what
    assert "OPS_S3_BUCKET" in findings["bucket"].what


def test_a_wrong_password_and_a_server_that_is_not_there(settings: Settings) -> None:
    wrong_password = make_conninfo(settings.require("backup_dsn"), password="wrong")
    nobody_there = make_conninfo(settings.require("owner_dsn"), port=1)
    found = wrong(
        settings.model_copy(update={"backup_dsn": SecretStr(wrong_password), "owner_dsn": SecretStr(nobody_there)})
    )
    assert "password authentication failed" in found["role for backups"].what
    assert found["role for backups"].do
    assert "Connection refused" in found["role for migrations"].what
    assert set(found) == {"role for backups", "role for migrations"}


def test_a_role_that_may_not_replicate_nor_read(settings: Settings) -> None:
    found = wrong(settings.model_copy(update={"backup_dsn": settings.upkeep_dsn}))
    assert {"REPLICATION", "reading", "replication"} <= set(found)
    assert all(finding.state == "error" and finding.do for finding in found.values())


def test_the_bucket_missing_and_the_key_wrong_and_the_server_gone(settings: Settings) -> None:
    for update in (
        {"s3_bucket": "not-there"},
        {"s3_secret_access_key": SecretStr("wrong")},
        {"s3_endpoint_url": "http://127.0.0.1:1", "s3_attempts": 1},
    ):
        found = wrong(settings.model_copy(update=update))
        assert {name: finding.state for name, finding in found.items()} == {"bucket": "error"}


def test_a_key_that_may_only_read_the_bucket(settings: Settings) -> None:
    settings = settings.model_copy(update={"s3_prefix": "read-only"})
    with forbidden(settings, "s3:PutObject"):
        found = wrong(settings)
    assert {name: finding.state for name, finding in found.items()} == {"bucket": "error"}
    assert "grant this key" in found["bucket"].do


def test_looking_leaves_nothing_in_the_bucket(settings: Settings) -> None:
    def others() -> list[str]:
        return [key for key in keys(settings) if "/wal/" not in key]  # the stack's receiver goes on shipping

    before = others()
    assert wrong(settings) == {}
    assert others() == before
    assert not list(open_store(settings).pending_uploads(f"{settings.s3_prefix}/doctor"))


def test_storage_of_dagster_that_is_not_there(settings: Settings) -> None:
    nobody_there = make_conninfo(settings.require("dagster_database_url"), port=1)
    found = wrong(settings.model_copy(update={"dagster_database_url": SecretStr(nobody_there)}))
    assert {name: finding.state for name, finding in found.items()} == {"Dagster's storage": "error"}


def test_keys_that_do_not_belong_together(settings: Settings, tmp_path: Path) -> None:
    other = tmp_path / "identity"
    other.write_text(new_identity())
    for update, said in (
        ({"age_identity_file": other}, "has the secret of none of them"),
        ({"age_identity_file": tmp_path / "none"}, "cannot be read"),
        ({"age_recipients": "age1nonsense"}, "is no public key"),
    ):
        found = wrong(settings.model_copy(update=update))
        assert {name: finding.state for name, finding in found.items()} == {"encryption": "error"}
        assert said in found["encryption"].what
    assert wrong(settings.model_copy(update={"age_identity_file": None})) == {}


def test_a_wrong_password_of_the_cache(settings: Settings) -> None:
    found = wrong(settings.model_copy(update={"redis_password": SecretStr("wrong")}))
    assert {name: finding.state for name, finding in found.items()} == {"cache": "error"}


def test_programs_that_are_not_there(settings: Settings, tmp_path: Path) -> None:
    found = wrong(settings.model_copy(update={"pg_bin_dir": tmp_path}))
    assert "OPS_PG_BIN_DIR" in found["PostgreSQL programs"].what


def test_programs_of_another_version_than_the_server(settings: Settings, tmp_path: Path) -> None:
    """The server's own version is as it is, so the programs are others: a stand-in that says it is PostgreSQL 15."""
    program = tmp_path / "postgres"
    program.write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 15.14'\n")
    program.chmod(0o755)
    found = wrong(settings.model_copy(update={"pg_bin_dir": tmp_path}))
    assert set(found) == {"server"}
    assert all(word in found["server"].what for word in ("PostgreSQL 18", "PostgreSQL 15", "OPS_PG_BIN_DIR"))


def test_a_scratch_folder_that_the_servers_account_cannot_enter(settings: Settings, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    found = wrong(settings.model_copy(update={"scratch_dir": closed}))
    assert "OPS_SCRATCH_DIR" in found["scratch folder"].do


@pytest.fixture
def poor_server(tmp_path_factory: pytest.TempPathFactory, stack: Stack) -> Iterator[Server]:
    """A server with every setting that is bad for backups."""
    account, programs = server_account("nobody"), find_programs(None)
    folder = stack.folder.joinpath(".ops/data").resolve() / "scratch/poor"
    folder.mkdir()
    if account:
        os.chown(folder, account.uid, account.gid)
    create_cluster(
        programs,
        folder / "data",
        superuser_password="of no interest",
        configuration={"wal_level": "minimal", "max_wal_senders": "0"},
        access_rules="local all all trust\nlocal replication all trust\n",
        account=account,
    )
    options = {"listen_addresses": "", "unix_socket_directories": str(folder)}
    server = Server(programs, folder / "data", log_file=folder / "log", options=options, account=account)
    server.start()
    yield server
    server.stop("immediate")


def test_a_server_that_cannot_be_backed_up(settings: Settings, poor_server: Server) -> None:
    found = wrong(settings.model_copy(update={"backup_dsn": SecretStr(poor_server.dsn())}))
    assert {name: finding.state for name, finding in found.items()} == {
        "wal_level": "error",
        "WAL senders": "error",
        "summarize_wal": "warning",
        "max_slot_wal_keep_size": "warning",
        "replication": "error",
    }
    assert all(finding.do for finding in found.values())


def test_no_free_sender(settings: Settings) -> None:
    with ExitStack() as taken:
        for _ in range(8):  # of ten, one is the standby's and one the WAL receiver's
            taken.enter_context(ReplicationConnection(settings.require("backup_dsn"), timeout=5, stall_seconds=30))
        found = wrong(settings)
    assert {name: finding.state for name, finding in found.items()} == {"WAL senders": "error", "replication": "error"}


def test_a_stack_that_is_down(empty_folder: Path, settings: Settings) -> None:
    (empty_folder / ".ops").mkdir()
    (empty_folder / ".ops/stack.json").write_text("{}")
    found = wrong(settings.model_copy(update={"home": empty_folder / ".ops"}))
    assert {finding.do for finding in found.values()} == {"run `ops up`"}
    assert len(found) == len(SERVICES)
