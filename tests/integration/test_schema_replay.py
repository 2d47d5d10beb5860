"""The mix against a real server: what waits and what fails while something else happens, told by spans."""

import os
import signal
import threading
import time
from collections.abc import Iterator

import psycopg
import pytest

from ops_workflows.errors import ConfigurationError, DatabaseError
from ops_workflows.local.seed import seed
from ops_workflows.postgres.connection import connect
from ops_workflows.schema.apply import migrate_up
from ops_workflows.schema.mix import Mix, Pools, parse_mix, read_mix
from ops_workflows.schema.replay import APPLICATION_NAME, replaying, shares
from ops_workflows.settings import Settings
from tests.support.schema import MIGRATIONS, ROOT, Database, own_database, rows, wait_for

TABLES = """
    create table a (id int primary key, data jsonb, until date);
    insert into a select n, '{"n": 1}', 'infinity' from generate_series(1, 20000) n;
    create table b (id int)"""
MIX = """
-- sample: id
SELECT id FROM a ORDER BY id;
-- sample: data
SELECT data FROM a LIMIT 1;
-- sample: none
SELECT id FROM b;

-- name: “a” by its id
-- weight: 5
SELECT * FROM a WHERE id = %(id)s;
-- name: 5 %: all of b
-- weight: 5
SELECT id FROM b WHERE id IS DISTINCT FROM %(none)s AND %(data)s::jsonb ? 'n' = true;
"""
READS_A, READS_B = "“a” by its id", "5 %: all of b"
BACKENDS = f"select pid, query, wait_event_type from pg_stat_activity where application_name = '{APPLICATION_NAME}'"


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    with own_database(settings) as made:
        with connect(made.owner) as connection:
            connection.execute(TABLES)
        yield made


@pytest.fixture
def mix() -> Mix:
    return parse_mix(MIX, "traffic.sql")


def backends(database: Database) -> list[tuple[object, ...]]:
    return rows(database.superuser, f"{BACKENDS} and datname = current_database()")


def waiting(database: Database) -> list[str]:
    return [str(query) for _, query, event in backends(database) if event == "Lock"]


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == APPLICATION_NAME]


def test_pools_are_read_from_the_database_and_a_sample_without_a_limit_is_bounded(database: Database, mix: Mix) -> None:
    with connect(database.owner) as connection:
        pools = mix.read_pools(connection)
    assert pools == Pools(mix.statements, {"id": list(range(1, 10_001)), "data": ['{"n": 1}'], "none": []})


@pytest.mark.parametrize(
    ("sample", "sentence"),
    [
        ("SELECT id FROM nowhere", 'sample “id” cannot be read: relation "nowhere" does not exist'),
        ("SELECT id, data FROM a", "sample “id” has to give one column"),
        ("SELECT until FROM a", "sample “id” cannot be read: date too large"),
        ("DELETE FROM a RETURNING id", "sample “id” cannot be read: syntax error"),
    ],
)
def test_a_sample_that_cannot_be_read_is_named(database: Database, sample: str, sentence: str) -> None:
    bad = parse_mix(MIX.replace("SELECT id FROM a ORDER BY id", sample), "traffic.sql")
    with pytest.raises(ConfigurationError, match=f"traffic.sql: {sentence}"), replaying(database.owner, bad, rate=1):
        pass
    assert not workers()


def test_what_waits_for_a_lock_is_told_of_where_it_waited(database: Database, mix: Mix) -> None:
    with replaying(database.owner, mix, rate=100) as replay:
        replay.span("before")
        assert replay.warm(15)
        with psycopg.connect(database.superuser) as other:
            replay.span("during")
            other.execute("lock table a in access exclusive mode")
            wait_for(lambda: len(waiting(database)) == 4)
            assert all(query.startswith(f"/* {READS_A} */ SELECT * FROM a") for query in waiting(database))
            held = time.monotonic()
            wait_for(lambda: time.monotonic() - held > 1)
        replay.span("after")
        assert replay.warm(15)
    spans = replay.spans
    assert list(spans) == ["before", "during", "after"]
    assert spans["during"][READS_A].longest_seconds > 1
    assert spans["before"][READS_A].longest_seconds < 0.5
    assert spans["after"][READS_A].longest_seconds < 0.5
    assert all(told.errors == 0 and told.count > 0 for told in (*spans["before"].values(), *spans["after"].values()))
    assert spans["after"][READS_B].count > 0


def test_what_fails_is_counted_with_what_postgresql_says_first(database: Database, mix: Mix) -> None:
    with replaying(database.owner, mix, rate=200, workers=2) as replay:
        replay.span("before")
        assert replay.warm(15)
        wait_for(lambda: replay.spans["before"][READS_A].count > 30)  # enough for a statement to be prepared
        replay.span("during")
        with connect(database.owner) as connection:
            connection.execute("alter table a add column more text; alter table b rename column id to ident")
        replay.span("after")
        assert replay.warm(15)
    assert replay.spans["before"][READS_B].errors == 0
    after = replay.spans["after"]
    assert after[READS_B].errors > 0
    assert after[READS_B].first_error == 'UndefinedColumn: column "id" does not exist'
    assert after[READS_A].errors == 0  # its columns are others now, and no prepared statement minds


def test_a_connection_that_broke_is_an_error_once_and_then_there_is_a_new_one(database: Database, mix: Mix) -> None:
    with replaying(database.owner, mix, rate=100, workers=1) as replay:
        replay.span("cut")
        assert replay.warm(15)
        ((pid, _, _),) = backends(database)
        rows(database.superuser, f"select pg_terminate_backend({pid})")
        wait_for(lambda: any(told.errors for told in replay.spans["cut"].values()))
        replay.span("again")
        assert replay.warm(15)
        ((another, _, _),) = backends(database)
    assert another != pid
    assert sum(told.errors for told in replay.spans["cut"].values()) == 1
    assert [told.first_error for told in replay.spans["cut"].values() if told.errors] == [
        "AdminShutdown: terminating connection due to administrator command"
    ]
    assert all(told.errors == 0 for told in replay.spans["again"].values())


def test_leaving_breaks_off_what_waits_and_leaves_nothing(database: Database, mix: Mix) -> None:
    with psycopg.connect(database.superuser) as other:
        other.execute("select from a limit 1")
        with replaying(database.owner, mix, rate=100) as replay:
            replay.span("held")
            assert replay.warm(15)
            other.execute("lock table a, b in access exclusive mode")
            wait_for(lambda: len(waiting(database)) == 4)
            began = time.monotonic()
        assert time.monotonic() - began < 3
        assert not workers()
        wait_for(lambda: not backends(database))
    assert all(told.errors == 0 for told in replay.spans["held"].values())


def test_leaving_does_not_wait_for_a_server_that_is_stopped(database: Database, mix: Mix) -> None:
    with psycopg.connect(database.superuser) as other:
        with replaying(database.owner, mix, rate=100, workers=1):
            other.execute("lock table a, b in access exclusive mode")
            wait_for(lambda: len(waiting(database)) == 1)
            ((pid, _, _),) = backends(database)
            assert isinstance(pid, int)
            os.kill(pid, signal.SIGSTOP)
            began = time.monotonic()
        try:
            assert time.monotonic() - began < 12
            assert not workers()
        finally:
            os.kill(pid, signal.SIGCONT)


def test_traffic_to_a_dead_server_or_without_a_rate_is_refused(database: Database, mix: Mix) -> None:
    with pytest.raises(DatabaseError, match="Connection refused"), replaying("host=127.0.0.1 port=1", mix, rate=1):
        pass
    with pytest.raises(ConfigurationError, match="above zero"), replaying(database.owner, mix, rate=float("nan")):
        pass


def test_the_applications_own_mix_works_with_and_without_rows(settings: Settings) -> None:
    own = read_mix(ROOT / "deploy/traffic.sql")
    assert own is not None
    with own_database(settings) as made:
        migrate_up(made.owner, MIGRATIONS)
        for name in ("empty", "filled"):
            with replaying(made.owner, own, rate=200) as replay:
                replay.span(name)
                assert replay.warm(15)
            assert set(replay.spans[name]) == {statement.name for statement in own.statements}
            assert [told for told in replay.spans[name].values() if told.errors] == []
            seed(made.owner, rows=500, seed=1 + (name == "filled"))


@pytest.mark.parametrize(
    ("began", "ended", "expected"),
    [
        (5, 9, {}),
        (12, 13, {"a": 1}),
        (5, 12, {"a": 2}),
        (15, 45, {"a": 5 + 5, "b": 10, "c": 10}),
        (50, 51, {"a": 1}),
    ],
)
def test_the_time_of_an_execution_is_shared_among_the_spans_that_it_ran_in(
    began: float, ended: float, expected: dict[str, float]
) -> None:
    assert shares([("a", 10), ("b", 20), ("c", 30), ("a", 40)], began, ended) == expected
    assert shares([], began, ended) == {}
