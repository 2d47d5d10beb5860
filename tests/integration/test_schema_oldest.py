"""The application's schema and the roles, on the oldest PostgreSQL that is promised."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from ops_workflows.local.seed import seed
from ops_workflows.postgres.server import Server
from ops_workflows.schema.apply import migrate_down, migrate_up
from ops_workflows.schema.files import read_migrations
from ops_workflows.settings import Settings
from ops_workflows.tables.findings import Kind, Verdict
from ops_workflows.tables.look import look
from tests.support.majors import OLDEST, server_of

MIGRATIONS = Path(__file__).parents[2] / "migrations"
VERSIONS = [migration.version for migration in read_migrations(MIGRATIONS)]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with server_of(OLDEST) as made:
        yield made


def test_it_is_migrated_filled_and_undone(server: Server) -> None:
    owner = server.dsn(user="ops_owner")
    assert [applied.version for applied in migrate_up(owner, MIGRATIONS) if applied.ledger == "public"] == VERSIONS
    assert seed(owner, rows=500, seed=1).rows["query_log"] == 500
    assert [applied.version for applied in migrate_down(owner, MIGRATIONS, steps=len(VERSIONS))] == [
        *reversed(VERSIONS)
    ]


def test_its_tables_can_be_looked_at(server: Server) -> None:
    with psycopg.connect(server.dsn(), autocommit=True) as superuser:
        superuser.execute("CREATE TABLE public.looked (id int PRIMARY KEY); CREATE INDEX again ON public.looked (id)")
        superuser.execute("GRANT SELECT ON public.looked TO ops_upkeep")
    found = look(Settings(upkeep_dsn=SecretStr(server.dsn(user="ops_upkeep"))))
    assert {each.kind for each in found.outcomes if each.verdict is not Verdict.OK} == {Kind.NO_DUPLICATE_INDEX}


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
