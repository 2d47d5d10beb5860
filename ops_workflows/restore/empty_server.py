"""An empty server of our own, for loading dumps into: nothing outside reaches it, nothing of it is kept."""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from psycopg import sql

from ops_workflows.postgres.account import hand_over, server_account
from ops_workflows.postgres.cluster import SUPERUSER, create_cluster
from ops_workflows.postgres.connection import connect
from ops_workflows.postgres.programs import Programs
from ops_workflows.postgres.server import Server
from ops_workflows.progress import SILENT, Progress
from ops_workflows.restore.scratch import scratch
from ops_workflows.settings import Settings

_OPTIONS = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    # It is thrown away after a crash, so nothing is done for the time after one.
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "4GB",
    "autovacuum": "off",
    "shared_buffers": "128MB",
    "maintenance_work_mem": "128MB",
}
_EVENT_TRIGGERS_SINCE = 17


@contextmanager
def empty_server(settings: Settings, programs: Programs, progress: Progress = SILENT) -> Iterator[Server]:
    """A new cluster, running for the length of a `with`; its superuser is `postgres`, who needs no password.

    Raises:
        ConfigurationError: This machine cannot run one.
        DatabaseError: It cannot be made, or did not start.
    """
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
            access_rules="# the socket's folder lets in its owner only\nlocal all all trust\n",
            account=account,
        )
        options = _OPTIONS | {"unix_socket_directories": str(run_dir)}
        if programs.major >= _EVENT_TRIGGERS_SINCE:
            options["event_triggers"] = "off"  # what is loaded may bring one that answers each login
        server = Server(programs, folder / "data", log_file=folder / "server.log", options=options, account=account)
        server.start()
        yield server


def create_database(server: Server, name: str, encoding: str, roles: Sequence[str]) -> None:
    """An empty database, in a cluster that knows the roles which its definitions may mention.

    Args:
        server: A running server from `empty_server`.
        name: Of the database.
        encoding: PostgreSQL's name of it.
        roles: Made without rights, where they are not there.
    """
    with connect(server.dsn()) as connection:
        for role in roles:
            if role != SUPERUSER:
                connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
        if name == "postgres":
            return
        # Sorted by code point, as the cluster is; only UTF-8 can be that and know what a letter is.
        sorting = "" if encoding == "UTF8" else " LOCALE_PROVIDER libc LOCALE 'C'"
        create = sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING {}").format(
            sql.Identifier(name), sql.Literal(encoding)
        )
        connection.execute(create + sql.SQL(sorting))
