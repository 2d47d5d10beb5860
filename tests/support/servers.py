"""PostgreSQL servers of a test's own, with the shape that the test is about."""

import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from ops_workflows.local.credentials import passfile_line
from ops_workflows.local.databases import ROLES_FILE
from ops_workflows.postgres.account import hand_over, server_account
from ops_workflows.postgres.cluster import create_cluster, set_password
from ops_workflows.postgres.programs import find_programs
from ops_workflows.postgres.server import Server
from ops_workflows.schema import apply
from ops_workflows.settings import Settings

HOST = "127.0.0.1"
HEARTBEATS = Path(apply.__file__).parent / "ops_migrations/000001_heartbeat.up.sql"
ROLES = ("ops_backup", "ops_owner", "ops_upkeep")
ACCESS = f"host all all {HOST}/32 scram-sha-256\nhost replication all {HOST}/32 scram-sha-256\n"


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.create_server((HOST, 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def reachable_folder() -> Iterator[Path]:
    """A folder that the servers' account can pass through, as pytest's own cannot be when we are root."""
    folder = Path(tempfile.mkdtemp(prefix="ops_test_"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class ScratchServer:
    """A running server and the roles of ours in it."""

    folder: Path
    server: Server

    def dsn(self, user: str = "ops_backup", database: str = "postgres", **more: str | int) -> str:
        """As one of the roles; through a proxy's port, name the password too, for the passfile knows only ours."""
        passfile = str(self.folder / "pgpass")
        where = {"host": HOST, "port": self.server.port, "user": user, "dbname": database, "passfile": passfile}
        return make_conninfo(**(where | more))

    def password(self, user: str) -> str:
        lines = (line.split(":") for line in (self.folder / "pgpass").read_text().splitlines())
        return next(parts[-1] for parts in lines if parts[-2] == user)

    @property
    def system(self) -> str:
        """PostgreSQL's system identifier."""
        with self.connect() as connection:
            row = connection.execute("SELECT system_identifier FROM pg_control_system()").fetchone()
        return str(row and row[0])

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """As the superuser."""
        return psycopg.connect(self.dsn("postgres", database), autocommit=True)

    def settings(self, settings: Settings, **more: Any) -> Settings:
        """Settings that back this server up, under a prefix of its own."""
        own = {
            "backup_dsn": SecretStr(self.dsn()),
            "upkeep_dsn": SecretStr(self.dsn("ops_upkeep")),
            "s3_prefix": f"t_{secrets.token_hex(4)}",
        }
        return settings.model_copy(update=own | more)


@contextmanager
def scratch_server(**configuration: str) -> Iterator[ScratchServer]:
    """A new cluster with data checksums, running for the length of a `with`."""
    account = server_account("nobody")
    programs = find_programs(None, 18)
    with reachable_folder() as folder:
        home = folder / "server"
        home.mkdir(mode=0o700)
        hand_over(home, account)
        password = secrets.token_hex(16)
        create_cluster(
            programs,
            home / "data",
            superuser_password=password,
            configuration={"fsync": "off", "log_timezone": "UTC"} | configuration,
            access_rules=ACCESS,
            account=account,
        )
        port = free_port()
        server = Server(
            programs,
            home / "data",
            log_file=folder / "server.log",
            options={"listen_addresses": HOST, "port": str(port), "unix_socket_directories": ""},
            account=account,
        )
        passfile = folder / "pgpass"
        passfile.touch(mode=0o600)
        words = {"postgres": password} | {name: secrets.token_hex(16) for name in ROLES}
        passfile.write_text("".join(passfile_line(port, role, word) for role, word in words.items()))
        made = ScratchServer(folder, server)
        try:
            server.start()
            with made.connect() as connection:
                connection.execute(ROLES_FILE.read_bytes())
                for role in ROLES:
                    set_password(connection, role, words[role])
            yield made
        finally:
            server.stop("immediate")


def fill_with_noise(server: ScratchServer, megabytes: int) -> None:
    """Rows of 1 MB that no codec makes smaller, stored out of line."""
    with server.connect() as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS pgcrypto")
        connection.execute("CREATE TABLE noise (id int PRIMARY KEY, content bytea)")
        connection.execute("ALTER TABLE noise ALTER content SET STORAGE EXTERNAL")
        one = "SELECT string_agg(gen_random_bytes(1024), '') FROM generate_series(n, n + 1023)"
        connection.execute(f"INSERT INTO noise SELECT n, ({one}) FROM generate_series(1, {megabytes}) AS n".encode())
        connection.execute("CHECKPOINT")


def with_heartbeats(server: ScratchServer, *ages: timedelta) -> None:
    """The table of heartbeats, as its migration makes it, with one heartbeat of each age."""
    with server.connect() as connection:
        connection.execute(HEARTBEATS.read_bytes())
        for age in ages:
            connection.execute("INSERT INTO ops.heartbeat (sender, at) VALUES ('cron', now() - %s)", [age])
