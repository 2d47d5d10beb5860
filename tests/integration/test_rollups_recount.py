"""Whatever is written to the query log, however late, the statistics come to be what a recount of its rows gives."""

import os
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

import hypothesis
import hypothesis.strategies as st
import psycopg
import pytest

from ops_workflows.analytics.period import Grain
from ops_workflows.analytics.rollup import roll_up_due, states
from ops_workflows.analytics.standing import State
from ops_workflows.errors import DatabaseError
from ops_workflows.postgres.connection import Connection, connect
from ops_workflows.schema.apply import migrate_up
from tests.support.recount import FLUSH, recount, stored
from tests.support.schema import MIGRATIONS, Database, rows, wait_for
from tests.support.servers import scratch_server

INSERT = """
    insert into query_log (created_at, query_type, user_id, latitude, longitude, calculation_system, cache_hit,
        response_time_ms)
    values (%s, %s, (select id from users where username = %s), %s, %s, %s, %s, %s)"""
USERS = "insert into users (username, email) select n, n || '@example.org' from generate_series(0, 9) as n"
SECONDS = 6
# Without their zone: they are read in that of the session, which has some of them twice and some not at all.
LOCAL = ["2025-03-30 02:30", "2025-10-26 02:30", "2025-10-26 03:00", "2026-02-28 23:59:59.999999", "2026-03-01"]
ZONES = ["Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "America/New_York", "UTC"]


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    """Of a server that a test may crash, and that has room for prepared transactions."""
    with scratch_server(max_prepared_transactions="10") as server:
        made = Database(*(server.dsn(role) for role in ("ops_owner", "ops_upkeep", "postgres")))
        migrate_up(made.owner, MIGRATIONS)
        with connect(made.owner) as connection:
            connection.execute("select create_query_log_months('2025-01-01Z', '2026-06-01Z')")
            connection.execute(USERS)
        yield made


@pytest.fixture
def emptied(database: Database) -> Database:
    empty(database)
    return database


def empty(database: Database) -> None:
    with connect(database.superuser) as connection:
        connection.execute(
            "truncate query_log, ops.query_stats_hourly, ops.query_stats_daily, ops.query_stats_periods, "
            "ops.query_log_marks"
        )


def expect_a_recount(database: Database) -> None:
    for grain in Grain:
        assert stored(database.upkeep, grain) == recount(database.upkeep, grain)


moments = st.one_of(
    st.sampled_from(LOCAL),
    st.sampled_from(
        [
            "-infinity", "4000-01-01 BC", "1969-12-31 23:59:59.999999+00", "1970-01-01 00:00+00", "2024-02-29 23:59+00",
            "2025-01-31 23:59:59.999999+00", "2025-02-01 00:00+00", "2026-12-31 23:59+14", "9000-01-01", "infinity",
        ]
    ),
    st.integers(0, 90).map(lambda hours: f"{datetime(2025, 4, 3, tzinfo=UTC) - timedelta(hours=hours)}"),
)  # fmt: skip
numbers = st.sampled_from([None, 0, 1, 2, 49, 50, 51, 85, 60_000, 2**31 - 1])
queries = st.tuples(
    moments,
    st.sampled_from(["tithi", "", "unknown", "ग्रह"]),
    st.none() | st.integers(0, 9).map(str),
    st.sampled_from([None, *map(Decimal, ("-90", "-10", "-0.00000001", "0", "9.99999999", "90", "90.00000001"))]),
    st.sampled_from([None, *map(Decimal, ("-180", "-10.00000001", "0", "179.99999999", "180", "-999.9"))]),
    st.sampled_from([None, "amanta", "purnimanta"]),
    st.booleans(),
    numbers,
)
histories = st.lists(
    st.one_of(
        queries.map(lambda query: ("now", query)),
        queries.map(lambda query: ("in a long transaction", query)),
        st.sampled_from(ZONES).map(lambda zone: ("zone", zone)),
        st.sampled_from([("end of the long transaction", None), ("roll up", None), ("roll up the whole", None)]),
    ),
    max_size=25,
)


@hypothesis.settings(
    max_examples=20, deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
@hypothesis.given(histories)
def test_whatever_the_order_of_rows_and_rollups_they_end_at_a_recount(
    database: Database, history: list[tuple[str, object]]
) -> None:
    empty(database)
    with connect(database.superuser) as writer, connect(database.superuser) as slow:
        for what, value in [*history, ("end of the long transaction", None), ("roll up", None)]:
            match what, value:
                case "now", tuple():
                    writer.execute(INSERT, value)
                    writer.execute(FLUSH)
                case "in a long transaction", tuple():
                    if slow.info.transaction_status is psycopg.pq.TransactionStatus.IDLE:
                        slow.execute("begin")
                    slow.execute(INSERT, value)
                case "zone", str():
                    writer.execute("select set_config('timezone', %s, false)", [value])
                case "end of the long transaction", None:
                    slow.execute("commit" if slow.info.transaction_status else FLUSH)
                    slow.execute(FLUSH)
                case _:
                    roll_up_due(database.upkeep, whole=what == "roll up the whole")
    expect_a_recount(database)


def query(random: Random) -> list[object]:
    """One at a whole, half or last moment of an hour, a day or a month; or of no zone."""
    month = datetime(2025, random.randint(1, 12), 1, tzinfo=UTC)
    edge = month + timedelta(hours=random.choice([-24, -1, 0, 1]), microseconds=random.choice([-1, 0, 1]))
    moment: object = random.choice([edge, edge, random.choice(LOCAL), datetime(1999, 12, 31, 23, tzinfo=UTC)])
    known, timed = random.choice([None, "1", "2", "3"]), random.choice([None, 0, 7, 85, 2**31 - 1])
    return [moment, random.choice(["tithi", "muhurta"]), known, None, None, None, random.random() < 0.5, timed]


def at_once(connection: Connection, random: Random) -> None:
    connection.execute("select set_config('timezone', %s, false)", [random.choice(ZONES)])
    connection.execute(INSERT, query(random))


def in_long_transactions(connection: Connection, random: Random) -> None:
    with connection.transaction(force_rollback=random.random() < 0.2):
        for _ in range(random.randint(1, 30)):
            connection.execute(INSERT, query(random))
            connection.execute("select pg_sleep(0.02)")


def in_two_phases(connection: Connection, random: Random) -> None:
    name = secrets.token_hex(8)
    connection.execute("begin")
    connection.execute(INSERT, query(random))
    connection.execute(f"prepare transaction '{name}'".encode())
    connection.execute("select pg_sleep(%s)", [random.random() / 5])
    connection.execute(f"{random.choice(['commit', 'commit', 'rollback'])} prepared '{name}'".encode())


@contextmanager
def writing(database: Database, seconds: float) -> Iterator[threading.Event]:
    """Writers of every kind; the event is set when they are done, and have reported what they wrote."""
    over, failed = threading.Event(), list[BaseException]()
    deadline = time.monotonic() + seconds

    def write(way: int) -> None:
        random = Random(way)
        try:
            with connect(database.superuser) as connection:
                while time.monotonic() < deadline:
                    (at_once, at_once, in_long_transactions, in_two_phases)[way](connection, random)
                connection.execute(FLUSH)
        except BaseException as error:  # noqa: BLE001 - of a thread, for the test to raise
            failed.append(error)

    threads = [threading.Thread(target=write, args=(way,)) for way in range(4)]
    for thread in threads:
        thread.start()

    def wait() -> None:
        for thread in threads:
            thread.join()
        over.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    yield over
    waiting.join(60)
    if failed:
        raise failed[0]


def test_while_rows_of_all_ages_are_written_rollups_end_at_a_recount(emptied: Database) -> None:
    rolled = list[int]()

    def roll(over: threading.Event) -> None:
        while not over.is_set():
            rolled.append(len(roll_up_due(emptied.upkeep, whole=False).done))

    with writing(emptied, SECONDS) as over:
        rollers = [threading.Thread(target=roll, args=(over,)) for _ in range(2)]
        for roller in rollers:
            roller.start()
        for roller in rollers:
            roller.join(60)
    last = roll_up_due(emptied.upkeep, whole=False)
    assert over.is_set()
    assert sum(map(bool, rolled)) > 5
    assert not last.scope.whole
    expect_a_recount(emptied)
    for grain in Grain:
        assert {state for state, periods in states(emptied.upkeep, grain).items() if periods} == {State.AGREES}


def test_rows_of_a_prepared_transaction_are_found_once_it_is_committed(emptied: Database) -> None:
    with connect(emptied.superuser) as connection:
        connection.execute("begin")
        connection.execute(INSERT, ["2025-02-10 10:00Z", "tithi", None, None, None, None, True, 5])
        connection.execute("prepare transaction 'late'")
        connection.execute(FLUSH)
        for whole in (True, False):
            assert roll_up_due(emptied.upkeep, whole=whole).done == []
        connection.execute("commit prepared 'late'")
        connection.execute(FLUSH)
    assert len(roll_up_due(emptied.upkeep, whole=False).done) == 2
    expect_a_recount(emptied)


def test_after_a_crash_everything_is_looked_at_since_its_counters_are_lost(emptied: Database) -> None:
    late = ["2025-02-10 10:00Z", "tithi", None, None, None, None, True, 5]
    with connect(emptied.superuser) as connection:
        connection.execute(INSERT, late)
        connection.execute(FLUSH)
    roll_up_due(emptied.upkeep)
    with connect(emptied.superuser) as victim:
        os.kill(victim.info.backend_pid, signal.SIGKILL)
        wait_for(lambda: answers(emptied))
    with connect(emptied.superuser) as connection:
        connection.execute(INSERT, late)  # as many as the counters knew of before
        connection.execute(FLUSH)
    assert len(roll_up_due(emptied.upkeep, whole=False).done) == 2
    expect_a_recount(emptied)


def answers(database: Database) -> bool:
    """Whether the server is back from its recovery, in which it has lost its counters."""
    counter = "select n_tup_ins from pg_stat_user_tables where relname = 'query_log_2025_02'"
    try:
        return rows(database.superuser, counter) == [(0,)]
    except DatabaseError:
        return False
