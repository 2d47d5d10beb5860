"""Servers of the oldest and of the newest PostgreSQL that are promised."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from ops_workflows.local.databases import ROLES_FILE
from ops_workflows.postgres.account import hand_over, server_account
from ops_workflows.postgres.programs import find_programs, run
from ops_workflows.postgres.server import Server
from tests.support.servers import reachable_folder

OLDEST, NEWEST = 15, 18
DEBIAN = Path("/usr/lib/postgresql/15/bin")


@contextmanager
def server_of(major: int) -> Iterator[Server]:
    """One on a private socket, which lets every role in; `public` belonged to the application's role, `app`, before."""
    if major == OLDEST and not DEBIAN.is_dir():
        pytest.skip("PostgreSQL 15 of Debian is not installed")
    account, programs = server_account("nobody"), find_programs(DEBIAN if major == OLDEST else None, major)
    with reachable_folder() as folder:
        home = folder / "server"
        home.mkdir(mode=0o700)
        hand_over(home, account)
        options = ("--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")
        run(programs.path("initdb"), "-D", home / "data", *options, timeout=60, account=account)
        socket = {"listen_addresses": "", "unix_socket_directories": str(home), "fsync": "off"}
        made = Server(programs, home / "data", log_file=folder / "server.log", options=socket, account=account)
        try:
            made.start()
            with psycopg.connect(made.dsn(), autocommit=True) as connection:
                connection.execute("CREATE ROLE app LOGIN")
                connection.execute("ALTER SCHEMA public OWNER TO app")
                connection.execute(ROLES_FILE.read_bytes())
            yield made
        finally:
            made.stop("immediate")
