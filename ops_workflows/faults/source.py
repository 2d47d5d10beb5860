"""A small PostgreSQL server of the suite's own, which is backed up, and gone afterwards whatever happens."""

import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from ops_workflows.backup.canary import plant
from ops_workflows.backup.policy import Kind
from ops_workflows.backup.take import take_backup
from ops_workflows.backup.wal_receiver import catch_up
from ops_workflows.errors import ConfigurationError
from ops_workflows.postgres.account import hand_over, server_account
from ops_workflows.postgres.cluster import create_cluster
from ops_workflows.postgres.connection import Connection, connect
from ops_workflows.postgres.programs import find_programs
from ops_workflows.postgres.server import Server
from ops_workflows.progress import SILENT, Progress
from ops_workflows.repository.backup import Backup
from ops_workflows.repository.canaries import Canary
from ops_workflows.repository.catalogue import Repository, open_repository
from ops_workflows.restore.scratch import scratch
from ops_workflows.settings import Settings

_OLDEST = 17  # incremental backups came with it
_OPTIONS = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "fsync": "off",
    "wal_level": "replica",
    "summarize_wal": "on",
    "max_prepared_transactions": "4",
    "autovacuum": "off",
    "log_timezone": "UTC",
    "shared_buffers": "64MB",
}
_ACCESS = "# the socket's folder lets in its owner only\nlocal all all trust\nlocal replication all trust\n"
_ROLES = files(__package__).joinpath("source.sql").read_text()
_HEARTBEAT = files("ops_workflows.schema").joinpath("ops_migrations/000001_heartbeat.up.sql").read_text()
_CATCH_UP_SECONDS = 120
_BETWEEN_CANARIES = 0.2  # seconds


@dataclass(frozen=True, slots=True)
class Source:
    """One server, and the settings that back it up.

    Attributes:
        settings: Which lead to it and to a prefix of the suite's own.
        server: It.
        system: PostgreSQL's system identifier.
        folder: Its folder; that of the server's account.
    """

    settings: Settings
    server: Server
    system: str
    folder: Path

    @property
    def repository(self) -> Repository:
        """Where it is backed up to."""
        return open_repository(self.settings, self.system)

    def at(self, **settings: Any) -> "Source":
        """The same server with other settings."""
        return replace(self, settings=self.settings.model_copy(update=settings))

    @contextmanager
    def connected(self, database: str = "postgres") -> Iterator[Connection]:
        """A connection as the superuser."""
        with connect(self.server.dsn(database)) as connection:
            yield connection

    def run(self, script: str, database: str = "postgres") -> None:
        """Run SQL of any length as the superuser; without a BEGIN in it, as one transaction."""
        with self.connected(database) as connection:
            connection.execute(script.encode())

    def back_up(self, kind: Kind = Kind.FULL) -> Backup:
        """Take a backup."""
        return take_backup(self.settings, kind=kind)

    def plant(self) -> Canary:
        """Plant a canary."""
        return plant(self.settings, self.system)

    def catch_up(self) -> None:
        """Bring the log in the bucket up to the present."""
        catch_up(self.settings, _CATCH_UP_SECONDS)

    def back_up_and_plant(self, kind: Kind = Kind.FULL) -> Backup:
        """Take a backup that can be shown to be exact: with all log behind it, and two canaries in that."""
        self.catch_up()
        backup = self.back_up(kind)
        self.plant_two()
        return backup

    def plant_two(self, *, ship: bool = True) -> tuple[Canary, Canary]:
        """Plant two canaries with a moment between them, and ship the log."""
        first = self.plant()
        time.sleep(_BETWEEN_CANARIES)
        second = self.plant()
        if ship:
            self.catch_up()
        return first, second


@contextmanager
def source(
    settings: Settings, progress: Progress = SILENT, configuration: Mapping[str, str] | None = None
) -> Iterator[Source]:
    """A new cluster with heartbeats, running for the length of a `with`, on a private socket.

    Args:
        settings: Programs, account, scratch folder, and where to back up to.
        progress: Hears of what killed predecessors left.
        configuration: Options beyond the usual ones.

    Raises:
        ConfigurationError: This machine cannot run one.
        DatabaseError: It cannot be made, or did not start.
    """
    programs = find_programs(settings.pg_bin_dir)
    if programs.major < _OLDEST:
        raise ConfigurationError(
            f"The fault suite takes incremental backups, which PostgreSQL {programs.major} in {programs.bin_dir} "
            f"cannot: set OPS_PG_BIN_DIR to programs of PostgreSQL {_OLDEST} or newer, or leave it out."
        )
    account = server_account(settings.server_user)
    with scratch(settings, programs.major, progress) as folder:
        run_dir = folder / "run"
        run_dir.mkdir(mode=0o700)
        hand_over(folder, account)
        create_cluster(
            programs,
            folder / "data",
            superuser_password=secrets.token_hex(20),
            configuration={},
            access_rules=_ACCESS,
            account=account,
        )
        options = _OPTIONS | {"unix_socket_directories": str(run_dir)} | dict(configuration or {})
        server = Server(programs, folder / "data", log_file=folder / "server.log", options=options, account=account)
        server.start()
        with connect(server.dsn()) as connection:
            connection.execute(_ROLES.encode())
            connection.execute(_HEARTBEAT.encode())
            row = connection.execute("SELECT system_identifier::text FROM pg_control_system()").fetchone()
        leading_here = {
            "backup_dsn": SecretStr(server.dsn(user="ops_backup")),
            "upkeep_dsn": SecretStr(server.dsn(user="ops_upkeep")),
        }
        yield Source(settings.model_copy(update=leading_here), server, str(row and row[0]), folder)
