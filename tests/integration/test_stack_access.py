"""Who gets into the embedded stack, and what each role may do there."""

import http.client
import json
import os
import stat
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import psycopg
import pytest
import sqlalchemy
from dotenv import dotenv_values
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import SecretStr

from ops_workflows.errors import DatabaseError, StorageError
from ops_workflows.local.cache import answers
from ops_workflows.local.databases import ROLES_FILE
from ops_workflows.local.layout import Layout
from ops_workflows.local.stack import Stack, status
from ops_workflows.postgres.processes import wait_until
from ops_workflows.postgres.replication import ReplicationConnection
from ops_workflows.settings import Settings
from ops_workflows.storage.s3 import open_store

Superuser = Callable[..., psycopg.Connection[Any]]


def connected(settings: Settings, role: str) -> psycopg.Connection[Any]:
    """A connection as one of the roles, to the application's database."""
    return psycopg.connect(as_role(settings, role), autocommit=True)


def as_role(settings: Settings, role: str, **more: str) -> str:
    return make_conninfo(settings.require("backup_dsn"), user=role, **more)


def test_the_standby_streams_through_its_slot(stack: Stack, superuser: Superuser) -> None:
    with superuser(stack.folder) as primary, superuser(stack.folder, "standby") as standby:
        slot = primary.execute("""SELECT slot_name, active, slot_type, wal_status FROM pg_replication_slots
            ORDER BY slot_name""").fetchall()
        assert slot == [("ops_wal", True, "physical", "reserved"), ("standby", True, "physical", "reserved")]
        primary.execute("CREATE TABLE streamed AS SELECT 42 AS answer")

        def has_arrived() -> bool:
            query = "SELECT count(*) FROM pg_class WHERE relname = 'streamed'"
            return standby.execute(query).fetchone() == (1,)

        assert wait_until(has_arrived, 10)
        assert standby.execute("SELECT pg_is_in_recovery(), answer FROM streamed").fetchone() == (True, 42)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            standby.execute("CREATE TABLE refused ()")
        primary.execute("DROP TABLE streamed")


def test_files_with_secrets_are_for_their_owner_alone(stack: Stack) -> None:
    secrets = stack.folder / ".ops/secrets"
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    for path in [stack.folder / ".env", *secrets.iterdir(), stack.folder / ".ops/stack.json"]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        assert path.stat().st_uid == os.geteuid(), path
    standby = Layout(stack.folder.resolve()).service("standby") / "pgpass"
    assert stat.S_IMODE(standby.stat().st_mode) == 0o600
    assert "ops_backup" not in standby.read_text()

    words = json.loads((secrets / "passwords.json").read_text())
    arguments = [" ".join(psutil.Process(pid).cmdline()) for service in status(stack.folder) for pid in service.pids]
    logs = [path.read_text() for path in (stack.folder / ".ops/logs").iterdir()]
    public = "\n".join([*arguments, *logs, stack.env_file.read_text()])
    # The id of a key is a name, and the object store logs it as such; the key itself is the secret.
    assert [name for name, word in words.items() if word in public and name != "s3_access_key_id"] == []


def test_everything_listens_on_loopback_only(stack: Stack) -> None:
    listening = [
        connection.laddr.ip
        for service in status(stack.folder)
        for pid in service.pids
        for connection in psutil.Process(pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening
    assert set(listening) == {"127.0.0.1"}


@pytest.mark.parametrize("role", ["postgres", "ops_backup", "ops_owner", "ops_upkeep"])
def test_a_wrong_password_is_refused_by_postgresql(settings: Settings, role: str) -> None:
    connected(settings, role).close()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(as_role(settings, role, password="wrong"))
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        psycopg.connect(as_role(settings, role, passfile="/dev/null"))


def test_a_wrong_key_is_refused_by_the_object_store(settings: Settings) -> None:
    open_store(settings).check()
    for wrong in ({"s3_secret_access_key": SecretStr("wrong")}, {"s3_access_key_id": SecretStr("wrong")}):
        with pytest.raises(StorageError):
            open_store(settings.model_copy(update=wrong)).check()


def test_the_object_store_shows_nothing_to_those_without_a_key(stack: Stack, settings: Settings) -> None:
    open_store(settings).put("secret/thing", b"secret thing")
    ports = json.loads((stack.folder / ".ops/stack.json").read_text())["ports"]
    for name, path in {"s3": "/ops-backups/secret/thing", "s3_filer": "/buckets/ops-backups/secret/thing"}.items():
        connection = http.client.HTTPConnection("127.0.0.1", ports[name], timeout=5)
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status in {401, 403}, name
        assert b"secret thing" not in answer.read()
        connection.close()


def test_a_missing_bucket_is_not_made_by_writing_to_it(settings: Settings) -> None:
    with pytest.raises(StorageError):
        open_store(settings.model_copy(update={"s3_bucket": "not-there"})).put("key", b"body")


def test_the_bucket_is_versioned(settings: Settings) -> None:
    assert open_store(settings).is_versioned()


def test_a_wrong_password_is_refused_by_the_cache(settings: Settings) -> None:
    port = int(settings.require("redis_url").removesuffix("/0").rpartition(":")[2])
    assert answers(port, settings.require("redis_password"))
    assert not answers(port, "wrong")


def test_dagster_storage_opens_with_its_url_alone(stack: Stack) -> None:
    url = dotenv_values(stack.env_file)["OPS_DAGSTER_DATABASE_URL"]
    assert url is not None
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        assert connection.execute(sqlalchemy.text("SELECT current_user, current_database()")).one() == ("dagster",) * 2
        connection.execute(sqlalchemy.text("CREATE TABLE made_by_dagster ()"))
        connection.execute(sqlalchemy.text("DROP TABLE made_by_dagster"))
    engine.dispose()


def replicates(dsn: str) -> bool:
    with ReplicationConnection(dsn, timeout=5, stall_seconds=10):
        return True


def test_only_two_roles_replicate(settings: Settings) -> None:
    assert replicates(as_role(settings, "ops_backup"))
    assert replicates(as_role(settings, "ops_standby"))
    for role in ("ops_owner", "ops_upkeep", "postgres"):
        with pytest.raises(DatabaseError):
            replicates(as_role(settings, role))


def test_the_role_of_the_standby_can_do_nothing_else(settings: Settings) -> None:
    with pytest.raises(psycopg.OperationalError, match=r"pg_hba\.conf"):
        connected(settings, "ops_standby")


@pytest.fixture
def table(settings: Settings) -> Iterator[str]:
    """A table of the application's, as a migration makes it."""
    with connected(settings, "ops_owner") as owner:
        owner.execute("CREATE TABLE public.of_the_owner (id int GENERATED ALWAYS AS IDENTITY, word text)")
        owner.execute("INSERT INTO public.of_the_owner (word) VALUES ('one')")
        yield "public.of_the_owner"
        owner.execute("DROP TABLE public.of_the_owner")


REFUSED = psycopg.errors.InsufficientPrivilege


def test_the_role_for_backups_reads_everything_and_writes_nothing(settings: Settings, table: str) -> None:
    with connected(settings, "ops_backup") as backup:
        assert backup.execute(f"SELECT word FROM {table}").fetchall() == [("one",)]
        slots = backup.execute("SELECT slot_name FROM pg_replication_slots WHERE restart_lsn IS NOT NULL").fetchall()
        assert sorted(slots) == [("ops_wal",), ("standby",)]
        for statement in (
            f"INSERT INTO {table} (word) VALUES ('two')",
            f"DELETE FROM {table}",
            f"TRUNCATE {table}",
            "CREATE TABLE public.mine ()",
            "CREATE TABLE ops.mine ()",
            "CREATE SCHEMA mine",
            "CREATE ROLE mine",
            "COPY (SELECT 1) TO PROGRAM 'true'",
        ):
            with pytest.raises(REFUSED):
                backup.execute(statement)


def test_the_role_for_upkeep_changes_rows_and_no_tables(settings: Settings, table: str) -> None:
    with connected(settings, "ops_upkeep") as upkeep:
        upkeep.execute(f"INSERT INTO {table} (word) VALUES ('two')")
        upkeep.execute(f"UPDATE {table} SET word = 'three' WHERE word = 'two'")
        upkeep.execute(f"DELETE FROM {table} WHERE word = 'three'")
        upkeep.execute(f"VACUUM (ANALYZE) {table}")
        for statement in (
            f"TRUNCATE {table}",
            f"DROP TABLE {table}",
            f"ALTER TABLE {table} ADD COLUMN more int",
            "CREATE TABLE public.mine ()",
            "CREATE TABLE ops.mine ()",
            "CREATE SCHEMA mine",
        ):
            with pytest.raises(REFUSED):
                upkeep.execute(statement)


def test_the_owner_makes_schemas_and_trusted_extensions_and_is_no_superuser(settings: Settings) -> None:
    with connected(settings, "ops_owner") as owner, owner.transaction(force_rollback=True):
        owner.execute("CREATE TABLE ops.mine ()")
        owner.execute("CREATE SCHEMA mine")
        owner.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        with pytest.raises(REFUSED), owner.transaction():
            owner.execute("CREATE ROLE mine")


def test_the_roles_file_can_be_applied_again_and_takes_back_what_was_added(stack: Stack, superuser: Superuser) -> None:
    described = "SELECT rolname, rolsuper, rolreplication, rolcreatedb, rolcanlogin FROM pg_roles ORDER BY 1"
    database = conninfo_to_dict(Settings.read(stack.folder).require("backup_dsn"))["dbname"]
    with superuser(stack.folder, database=database) as connection:
        before = connection.execute(described).fetchall()
        connection.execute("ALTER ROLE ops_upkeep SUPERUSER REPLICATION CREATEDB")
        connection.execute(ROLES_FILE.read_bytes())
        assert connection.execute(described).fetchall() == before
        passwords = "SELECT count(*) FROM pg_authid WHERE rolname ~ '^ops_' AND rolpassword LIKE 'SCRAM-SHA-256$%'"
        assert connection.execute(passwords).fetchone() == (4,)


def test_the_primary_is_as_backups_need_it(settings: Settings) -> None:
    with connected(settings, "ops_backup") as backup:
        wanted = {
            "data_checksums": "on", "wal_level": "replica", "summarize_wal": "on", "max_wal_senders": "10",
            "max_slot_wal_keep_size": "1GB", "fsync": "on", "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "", "password_encryption": "scram-sha-256", "server_encoding": "UTF8",
        }  # fmt: skip
        found = {name: backup.execute(f"SHOW {name}").fetchone() for name in wanted}
        assert found == {name: (value,) for name, value in wanted.items()}
