"""Pruning and rollups on the oldest and on the newest PostgreSQL that are promised."""

from collections.abc import Iterator

import pytest

from ops_workflows.analytics.checks import look
from ops_workflows.analytics.period import Grain
from ops_workflows.analytics.rollup import roll_up_due
from ops_workflows.cache.prune import plan_prune, prune
from ops_workflows.local.seed import seed
from ops_workflows.postgres.server import Server
from ops_workflows.schema.apply import migrate_up
from ops_workflows.settings import Settings
from tests.support.cache import alive, expired, left, unhindered
from tests.support.majors import NEWEST, OLDEST, server_of
from tests.support.schema import MIGRATIONS, Database

MAINTAINED_SINCE = 17


@pytest.fixture(scope="module", params=[OLDEST, NEWEST])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with server_of(request.param) as made:
        migrate_up(made.dsn(user="ops_owner"), MIGRATIONS)
        yield made


@pytest.fixture
def database(server: Server) -> Database:
    return Database(server.dsn(user="ops_owner"), server.dsn(user="ops_upkeep"), server.dsn())


def test_the_cache_is_pruned(server: Server, database: Database) -> None:
    own = unhindered(Settings(), database)
    expired(database, 3_000)
    alive(database, 200)
    plan = plan_prune(own)
    assert (plan.expired, plan.unexpiring) == (3_000, 0)
    done = prune(own)
    assert (done.total, done.notes, done.ended) == (3_000, [], "nothing more to prune")
    assert left(database) == {"alive": 200}
    assert done.after.total_bytes is not None
    assert done.left is not None
    assert (done.left.expired, done.left.far) == (0, 0)
    if server.programs.major >= MAINTAINED_SINCE:
        assert done.vacuum.startswith("vacuumed")
        assert done.after.bloat is not None
    else:
        assert "this role may not vacuum the table" in done.vacuum


def test_queries_are_rolled_up_and_their_statistics_agree_with_them(database: Database) -> None:
    seed(database.owner, rows=300, seed=1)
    due = roll_up_due(database.upkeep, most=10_000)
    assert (len(due.done) > 10, due.left) == (True, 0)
    for grain in Grain:
        found = look(database.upkeep, grain)
        assert {name: each.passed for name, each in found.items()} == dict.fromkeys(found, True)
        assert found["counts_reconcile"].evidence["queries"] > 0
    assert roll_up_due(database.upkeep, most=10_000).done == []
