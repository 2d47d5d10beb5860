"""The query log rolled up: the same whenever it is done, late rows and all, and as exact as it says."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from ops_workflows.analytics import distinct, histogram
from ops_workflows.analytics.period import Grain, Period
from ops_workflows.analytics.rollup import MOST_PERIODS, roll_up, roll_up_due, states
from ops_workflows.analytics.standing import State
from ops_workflows.errors import ConfigurationError, RefusedError
from ops_workflows.local.seed import seed
from ops_workflows.postgres.connection import connect
from ops_workflows.schema.apply import migrate_up
from ops_workflows.settings import Settings
from tests.support.schema import MIGRATIONS, ROOT, Database, own_database, rows, wait_for

BASE = datetime(2026, 5, 1, tzinfo=UTC)
DAY = Period(Grain.DAY, BASE - timedelta(days=3))
HOUR = Period(Grain.HOUR, DAY.start + timedelta(hours=4))
DIMENSIONS = "query_type, calculation_system, cache_hit, region, user_kind"
INSERT = "insert into query_log (query_type, created_at, response_time_ms) values ('tithi', %s, 7)"
_PROGRAM = (
    "import sys; from datetime import datetime; from ops_workflows.analytics.period import Grain, Period; "
    "from ops_workflows.analytics.rollup import roll_up; "
    "roll_up(sys.stdin.read(), Period(Grain.HOUR, datetime.fromisoformat(sys.argv[1])))"
)


@pytest.fixture(scope="module")
def database(settings: Settings) -> Iterator[Database]:
    with own_database(settings) as made:
        migrate_up(made.owner, MIGRATIONS)
        seed(made.owner, rows=40_000, seed=1, base=BASE)
        roll_up_due(made.upkeep)
        yield made


@pytest.fixture
def empty(settings: Settings) -> Iterator[Database]:
    with own_database(settings) as made:
        migrate_up(made.owner, MIGRATIONS)
        yield made


def statistics(database: Database, table: str = "hourly", where: str = "true") -> list[tuple[object, ...]]:
    return rows(database.upkeep, f"select * from ops.query_stats_{table} where {where} order by period, {DIMENSIONS}")


def insert(database: Database, *moments: datetime | str) -> None:
    with connect(database.owner) as connection:
        for moment in moments:
            connection.execute(INSERT, [moment])


def recounted(database: Database) -> list[tuple[object, ...]]:
    """Each hour as the log has it, with what can be counted in one plain statement."""
    return rows(
        database.upkeep,
        "select date_trunc('hour', created_at, 'UTC'), query_type, cache_hit, user_id is not null, count(*), "
        "sum(response_time_ms) from query_log group by 1, 2, 3, 4 order by 1, 2, 3, 4",
    )


def counted(database: Database) -> list[tuple[object, ...]]:
    return rows(
        database.upkeep,
        "select period, query_type, cache_hit, user_kind = 'known', sum(queries)::bigint, sum(sum_ms)::bigint "
        "from ops.query_stats_hourly group by 1, 2, 3, 4 order by 1, 2, 3, 4",
    )


def test_everything_counts_as_the_raw_rows_do_and_a_second_time_nothing_is_due(database: Database) -> None:
    assert sum(int(str(row[4])) for row in counted(database)) == 40_000
    assert counted(database) == recounted(database)
    again = roll_up_due(database.upkeep)
    assert (again.done, again.left) == ([], 0)
    assert set(rows(database.upkeep, "select region from ops.query_stats_hourly")) >= {("N20E080",), ("N50W010",)}


def test_rolled_up_twice_the_rows_are_the_same(database: Database) -> None:
    before = statistics(database), statistics(database, "daily")
    (hour, day) = roll_up(database.upkeep, HOUR, DAY)
    assert hour.rows == hour.before
    assert day.rows == day.before
    assert (statistics(database), statistics(database, "daily")) == before


def test_percentiles_of_a_day_and_of_all_days_are_within_one_per_cent(database: Database) -> None:
    shares = [0.5, 0.95, 0.99]
    for where, raw in (
        (f"period = '{DAY.start}'", f"created_at >= '{DAY.start}' and created_at < '{DAY.end}'"),
        ("not cache_hit", "not cache_hit"),
        ("true", "true"),
    ):
        stored = rows(database.upkeep, f"select latency_bins, latency_counts from ops.query_stats_daily where {where}")
        merged = histogram.merge(stored)  # type: ignore[arg-type]
        ((exact,),) = rows(
            database.upkeep,
            "select percentile_cont(array[0.5, 0.95, 0.99]) within group (order by response_time_ms) "
            f"from query_log where {raw}",
        )
        assert [histogram.percentile(merged, share) for share in shares] == pytest.approx(exact, rel=0.01)


def test_distinct_users_are_within_the_stated_error(database: Database) -> None:
    for where, raw in (
        (f"period = '{DAY.start}'", f"created_at >= '{DAY.start}' and created_at < '{DAY.end}'"),
        ("true", "true"),
    ):
        stored = rows(database.upkeep, f"select users from ops.query_stats_daily where {where}")
        ((exact,),) = rows(database.upkeep, f"select count(distinct user_id) from query_log where {raw}")
        found = distinct.estimate(distinct.merge(users for (users,) in stored))  # type: ignore[misc]
        assert found == pytest.approx(exact, rel=3 * distinct.STANDARD_ERROR)


def test_a_day_merged_from_its_hours_is_the_day_rolled_up_from_the_log(database: Database) -> None:
    hour = (ROOT / "ops_workflows/analytics/hour.sql").read_bytes()
    with connect(database.upkeep) as connection, connection.transaction(force_rollback=True):
        connection.execute("delete from ops.query_stats_hourly")
        connection.execute(hour, {"start": DAY.start, "end": DAY.end})
        query = f"select * from ops.query_stats_hourly order by period, {DIMENSIONS}"
        from_the_log = connection.execute(query.encode()).fetchall()
    assert statistics(database, "daily", f"period = '{DAY.start}'") == from_the_log


def test_a_late_row_is_found_and_only_its_hour_and_its_day_are_made_again(empty: Database) -> None:
    old = datetime(1999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    insert(empty, HOUR.start, HOUR.end, old)
    assert len(roll_up_due(empty.upkeep).done) == 3 + 2
    insert(empty, HOUR.start + timedelta(minutes=59))
    done = roll_up_due(empty.upkeep).done
    assert [(each.period, each.before, each.rows) for each in done] == [(HOUR, 1, 2), (DAY, 2, 3)]
    assert counted(empty) == recounted(empty)


def test_nulls_zero_and_what_no_clock_measured_are_counted_and_the_far_future_waits(empty: Database) -> None:
    far = "insert into query_log (query_type, created_at) values ('x', '9000-01-01'), ('x', 'infinity')"
    with connect(empty.owner) as connection:
        connection.execute(INSERT, [HOUR.start])
        connection.execute("alter table query_log drop constraint query_log_response_time_ms_check")
        for milliseconds, latitude, longitude in ((0, 90, 180), (-3, -90, -180), (2**31 - 1, None, 5), (None, 5, 999)):
            connection.execute(
                "insert into query_log (query_type, created_at, response_time_ms, latitude, longitude) "
                "values ('odd', %s, %s, %s, %s)",
                [HOUR.start, milliseconds, latitude, longitude],
            )
        connection.execute(far)
    assert [each.period for each in roll_up_due(empty.upkeep).done] == [HOUR, DAY]
    assert rows(
        empty.upkeep,
        "select region, sum(queries)::int, sum(timed)::int, min(min_ms), max(max_ms) from ops.query_stats_hourly "
        "where query_type = 'odd' group by region order by region",
    ) == [("N80E170", 1, 1, 0, 0), ("S90W180", 1, 1, -3, -3), ("unknown", 2, 1, 2**31 - 1, 2**31 - 1)]


def test_an_open_transaction_holds_the_horizon_back_and_what_is_not_settled_is_refused(empty: Database) -> None:
    recent = Period.around(Grain.HOUR, datetime.now(UTC))
    with connect(empty.owner) as writer, writer.transaction():
        ((began,),) = writer.execute("select now()").fetchall()
        insert(empty, HOUR.start)
        due = roll_up_due(empty.upkeep)
        assert due.horizon == began - timedelta(seconds=2)
        assert [each.period for each in due.done] == [HOUR, DAY]
        with pytest.raises(RefusedError, match="Rows may still come for"):
            roll_up(empty.upkeep, recent)


def test_who_cannot_write_to_the_log_holds_nothing_back(empty: Database, settings: Settings) -> None:
    database = rows(empty.owner, "select current_database()")[0][0]
    with connect(settings.require("backup_dsn"), dbname=str(database)) as reader, reader.transaction():
        ((began,),) = reader.execute("select now()").fetchall()
        wait_for(lambda: roll_up_due(empty.upkeep).horizon > began)


def test_a_role_that_does_not_see_the_transactions_of_others_is_told_what_it_lacks(empty: Database) -> None:
    with connect(empty.superuser) as connection:
        connection.execute("grant select on query_log, ops.query_stats_periods to pg_read_server_files")
    with pytest.raises(RefusedError, match="GRANT pg_read_all_stats"):
        roll_up_due(empty.owner)


def test_an_hour_that_is_killed_in_the_middle_stays_as_it_was(empty: Database) -> None:
    insert(empty, HOUR.start)
    roll_up_due(empty.upkeep)
    before = statistics(empty)
    insert(empty, HOUR.start)
    waits = (
        "select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database() "
        "and query like '-- Rolls up one hour%'"
    )
    command = [sys.executable, "-c", _PROGRAM, HOUR.start.isoformat()]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as child,
        connect(empty.superuser) as other,
        other.transaction(),
    ):
        # By the time that it waits for this lock, it has deleted the old rows.
        other.execute("lock table query_log in access exclusive mode")
        assert child.stdin is not None
        child.stdin.write(empty.upkeep)
        child.stdin.close()
        wait_for(lambda: bool(rows(empty.superuser, waits)))
        os.kill(child.pid, signal.SIGKILL)
        child.wait(10)
    assert statistics(empty) == before
    assert [each.period for each in roll_up_due(empty.upkeep).done] == [HOUR, DAY]
    assert counted(empty) == recounted(empty)


def test_statistics_whose_rows_are_gone_are_kept_unless_they_are_to_be_replaced(empty: Database) -> None:
    insert(empty, HOUR.start, HOUR.start, HOUR.end)
    roll_up_due(empty.upkeep)
    rows(empty.owner, f"delete from query_log where created_at = '{HOUR.start}' returning 1")
    assert roll_up_due(empty.upkeep).done == []
    assert states(empty.upkeep, Grain.HOUR)[State.FEWER] == [HOUR]
    before = statistics(empty)
    with pytest.raises(RefusedError, match="was rolled up from 2 rows, of which 0 are left"):
        roll_up(empty.upkeep, HOUR)
    assert statistics(empty) == before
    roll_up(empty.upkeep, HOUR, replace=True)
    assert counted(empty) == recounted(empty)


def test_what_somebody_altered_by_hand_is_made_again(empty: Database) -> None:
    insert(empty, HOUR.start, HOUR.end)
    roll_up_due(empty.upkeep)
    rows(empty.owner, f"update ops.query_stats_hourly set queries = 9 where period = '{HOUR.start}' returning 1")
    rows(empty.owner, "delete from ops.query_stats_daily returning 1")
    assert [each.period for each in roll_up_due(empty.upkeep).done] == [HOUR, DAY]
    assert counted(empty) == recounted(empty)


def test_a_bound_leaves_the_rest_for_another_time_and_a_day_waits_for_its_hours(empty: Database) -> None:
    insert(empty, HOUR.start, HOUR.end)
    first = roll_up_due(empty.upkeep, most=1)
    assert ([each.period for each in first.done], first.left) == ([HOUR], 2)
    with pytest.raises(RefusedError, match=r"1 hours of .* are not rolled up"):
        roll_up(empty.upkeep, DAY)
    assert [each.period.grain for each in roll_up_due(empty.upkeep).done] == [Grain.HOUR, Grain.DAY]


def test_a_backfill_without_a_bound_is_refused(empty: Database) -> None:
    hours = [Period(Grain.HOUR, BASE - timedelta(hours=number)) for number in range(MOST_PERIODS + 1)]
    with pytest.raises(ConfigurationError, match="50,001 periods are too many at once: take 50,000 at most"):
        roll_up(empty.upkeep, *hours)
