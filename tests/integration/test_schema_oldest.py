"""The application's schema and the roles, on the oldest PostgreSQL that is promised."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ops_workflows.local.databases import ROLES_FILE
from ops_workflows.local.seed import seed
from ops_workflows.postgres.account import hand_over, server_account
from ops_workflows.postgres.programs import find_programs, run
from ops_workflows.postgres.server import Server
from ops_workflows.schema.apply import migrate_down, migrate_up
from ops_workflows.schema.files import read_migrations
from tests.support.servers import reachable_folder

MIGRATIONS = Path(__file__).parents[2] / "migrations"
VERSIONS = [migration.version for migration in read_migrations(MIGRATIONS)]
DEBIAN = Path("/usr/lib/postgresql/15/bin")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """PostgreSQL 15 on a private socket, which lets every role in; `public` belongs to the application's role."""
    if not DEBIAN.is_dir():
        pytest.skip("PostgreSQL 15 of Debian is not installed")
    account, programs = server_account("nobody"), find_programs(DEBIAN, 15)
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


def test_it_is_migrated_filled_and_undone(server: Server) -> None:
    owner = server.dsn(user="ops_owner")
    assert [applied.version for applied in migrate_up(owner, MIGRATIONS) if applied.ledger == "public"] == VERSIONS
    assert seed(owner, rows=500, seed=1).rows["query_log"] == 500
    assert [applied.version for applied in migrate_down(owner, MIGRATIONS, steps=len(VERSIONS))] == [
        *reversed(VERSIONS)
    ]


def test_an_application_that_migrates_with_a_role_of_its_own_does_so_with_what_the_readme_says(server: Server) -> None:
    with psycopg.connect(server.dsn(user="app"), autocommit=True) as application:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            application.execute("CREATE TABLE public.own ()")
        said = " ".join((MIGRATIONS.parent / "README.md").read_text().split()).split("`")
        statements = [each for each in said if " app" in each and each.startswith(("GRANT", "ALTER DEFAULT"))]
        assert len(statements) == 2
        with psycopg.connect(server.dsn(), autocommit=True) as superuser:
            for statement in statements:
                superuser.execute(statement.encode())
        application.execute("CREATE TABLE public.own ()")
    with psycopg.connect(server.dsn(user="ops_upkeep")) as upkeep:
        assert upkeep.execute("SELECT FROM public.own").fetchall() == []
