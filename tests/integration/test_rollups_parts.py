"""A rollup reads what was written to since the last one, and nothing else; and whatever was written, it finds."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import psycopg.errors
import pytest

from ops_workflows.analytics.checks import look
from ops_workflows.analytics.parts import read_marks, read_parts
from ops_workflows.analytics.period import Grain, Period
from ops_workflows.analytics.rollup import Due, roll_up, roll_up_due
from ops_workflows.analytics.standing import OLDEST
from ops_workflows.errors import DatabaseError
from ops_workflows.postgres.connection import connect
from ops_workflows.schema.apply import migrate_up
from ops_workflows.settings import Settings
from tests.support.recount import FLUSH, recount, stored
from tests.support.schema import MIGRATIONS, Database, own_database, rows, wait_for

OLD = datetime(2025, 3, 30, 1, tzinfo=UTC)
RECENT = datetime(2026, 5, 31, 23, tzinfo=UTC)
INSERT = "insert into query_log (query_type, created_at, response_time_ms) values ('tithi', %s, %s)"
SCANS = """
    select relname::text, coalesce(seq_scan, 0) + coalesce((
        select sum(idx_scan) from pg_stat_user_indexes as i where i.relid = t.relid
    ), 0)::int
    from pg_stat_user_tables as t where schemaname = 'public' and relname like 'query_log%'"""
UPKEEP = "usename = 'ops_upkeep' and datname = current_database()"


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    """Months from 2025 on, some of which have queries that are rolled up."""
    with own_database(settings) as made:
        migrate_up(made.owner, MIGRATIONS)
        rows(made.owner, "select create_query_log_months('2025-01-01Z', '2026-08-01Z')")
        write(made, OLD, OLD + timedelta(days=40), RECENT, datetime(1999, 12, 31, 23, 59, tzinfo=UTC))
        roll_up_due(made.upkeep)
        yield made


def write(database: Database, *moments: datetime, milliseconds: int = 7) -> None:
    with connect(database.owner) as connection:
        for moment in moments:
            connection.execute(INSERT, [moment, milliseconds])
        connection.execute(FLUSH)


def again(database: Database) -> Due:
    return roll_up_due(database.upkeep, whole=False)


def periods(due: Due) -> list[Period]:
    return [each.period for each in due.done]


def hour_and_day(moment: datetime) -> list[Period]:
    return [Period.around(grain, moment) for grain in Grain]


def expect_a_recount(database: Database) -> None:
    for grain in Grain:
        assert stored(database.upkeep, grain) == recount(database.upkeep, grain)


def scans(database: Database) -> dict[object, object]:
    """How often each partition was read, by all sessions of the rollups, which have ended."""
    wait_for(lambda: not rows(database.superuser, "select from pg_stat_activity where " + UPKEEP))
    return dict(rows(database.superuser, SCANS))  # type: ignore[arg-type] # of two columns


def test_a_row_from_a_year_ago_is_found_by_the_next_run_which_reads_no_other_month(database: Database) -> None:
    before = scans(database)
    write(database, OLD)
    assert periods(again(database)) == hour_and_day(OLD)
    after = scans(database)
    assert {name for name in after if after[name] != before[name]} == {"query_log_2025_03"}
    expect_a_recount(database)


def test_where_nothing_was_written_nothing_is_read(database: Database) -> None:
    before = scans(database)
    due = again(database)
    assert scans(database) == before
    assert (due.done, due.scope.whole) == ([], False)
    assert {"query_log_default", "query_log_2025_03", "query_log_2026_05"} <= set(due.scope.unchanged)
    found = look(database.upkeep, Grain.HOUR, scope=due.scope)
    assert [each.passed for each in found.values()] == [True] * 3
    assert found["percentiles_agree"].evidence["period"] == "2026-05-31 23:00 UTC"


def test_rows_that_no_month_is_there_for_are_found_too(database: Database) -> None:
    write(database, datetime(2011, 11, 11, 11, tzinfo=UTC), datetime(1960, 1, 1, tzinfo=UTC))
    assert periods(again(database)) == hour_and_day(datetime(2011, 11, 11, 11, tzinfo=UTC))
    expect_a_recount(database)


def test_a_row_that_took_the_place_of_another_is_noticed(database: Database) -> None:
    rows(database.owner, f"delete from query_log where created_at = '{OLD}' returning 1")
    write(database, OLD, milliseconds=8)
    assert periods(again(database)) == hour_and_day(OLD)
    expect_a_recount(database)


def test_a_row_that_comes_between_the_counting_and_the_end_of_a_run_is_found_by_the_next(database: Database) -> None:
    write(database, OLD)
    waits = f"select from pg_stat_activity where wait_event_type = 'Lock' and {UPKEEP}"
    with ThreadPoolExecutor(1) as pool, connect(database.superuser) as other:
        with other.transaction():
            other.execute("lock table ops.query_stats_periods in share mode")
            first = pool.submit(again, database)
            wait_for(lambda: bool(rows(database.superuser, waits)))  # it has counted, and is about to roll up
            write(database, OLD + timedelta(hours=5))
        assert periods(first.result(60)) == hour_and_day(OLD)
    assert periods(again(database)) == hour_and_day(OLD + timedelta(hours=5))
    expect_a_recount(database)


def test_counters_that_were_reset_are_not_believed(database: Database) -> None:
    rows(database.superuser, "select pg_stat_reset()")
    write(database, OLD)  # as often as before
    assert periods(again(database)) == hour_and_day(OLD)


@pytest.mark.parametrize("scope", ["role ops_owner in database {}", "database {}"])
def test_without_counters_everything_is_looked_at(database: Database, scope: str) -> None:
    name = str(rows(database.owner, "select current_database()")[0][0])
    with connect(database.superuser) as connection:
        connection.execute(f"alter {scope.format(name)} set track_counts = off".encode())
    with connect(database.upkeep) as connection:
        assert {part.counters for part in read_parts(connection)} == {None}
    write(database, OLD)
    assert periods(again(database)) == hour_and_day(OLD)


def test_statistics_altered_by_hand_are_found_within_a_day(database: Database) -> None:
    rows(database.owner, f"update ops.query_stats_hourly set sum_ms = 9 where period = '{OLD}' returning 1")
    assert not again(database).done
    rows(database.owner, "update ops.query_log_marks set whole_at = whole_at - interval '25 hours' returning 1")
    assert periods(again(database)) == hour_and_day(OLD)
    expect_a_recount(database)


def test_marks_from_the_future_are_not_believed(database: Database) -> None:
    rows(database.owner, "update ops.query_log_marks set whole_at = whole_at + interval '1 hour' returning 1")
    assert again(database).scope.whole


def test_an_hour_that_was_rolled_up_by_hand_gets_its_day_from_the_next_run(database: Database) -> None:
    again(database)
    hour, day = hour_and_day(OLD)
    roll_up(database.upkeep, hour)
    assert periods(again(database)) == [day]


def test_what_a_bound_left_undone_is_found_again(database: Database) -> None:
    write(database, OLD, RECENT)
    assert roll_up_due(database.upkeep, whole=False, most=1).left == 2
    assert len(again(database).done) == 3
    expect_a_recount(database)


def test_a_period_that_cannot_be_mended_is_told_of_each_time(database: Database) -> None:
    write(database, OLD)
    again(database)
    rows(database.owner, "delete from query_log where id in (select id from query_log limit 1) returning 1")
    rows(database.owner, f"delete from query_log where created_at = '{RECENT}' returning pg_stat_force_next_flush()")
    for _ in range(2):
        due = again(database)
        found = look(database.upkeep, Grain.HOUR, scope=due.scope)["counts_reconcile"]
        assert (found.passed, due.done) == (False, [])


def test_a_month_that_is_detached_is_history_and_one_that_is_attached_is_looked_at(database: Database) -> None:
    before = stored(database.upkeep, Grain.HOUR)
    with connect(database.owner) as connection:
        connection.execute("alter table query_log detach partition query_log_2025_03")
        assert not again(database).done
        assert "query_log_2025_03" not in {part.name for part in read_parts(connection)}
        connection.execute("insert into query_log_2025_03 (query_type, created_at) values ('tithi', %s)", [OLD])
        connection.execute(FLUSH)
        assert not again(database).done
        assert stored(database.upkeep, Grain.HOUR) == before
        connection.execute(
            "alter table query_log attach partition query_log_2025_03 "
            "for values from ('2025-03-01Z') to ('2025-04-01Z')"
        )
    assert periods(again(database)) == hour_and_day(OLD)
    expect_a_recount(database)


def test_without_a_partition_for_a_month_its_rows_are_refused_and_rollups_go_on(database: Database) -> None:
    rows(database.superuser, "delete from query_log_default returning 1")
    with connect(database.owner) as connection:
        connection.execute("alter table query_log detach partition query_log_default")
    with pytest.raises(DatabaseError, match="no partition of relation") as raised:
        write(database, datetime(2011, 11, 11, tzinfo=UTC))
    assert isinstance(raised.value.__cause__, psycopg.errors.CheckViolation)
    write(database, OLD)
    assert periods(again(database)) == hour_and_day(OLD)
    assert not roll_up_due(database.upkeep).done


def test_a_log_without_partitions_is_one_part(database: Database) -> None:
    with connect(database.owner) as connection:
        connection.execute("create table plain (like query_log including all)")
        connection.execute("insert into plain select * from query_log")
        connection.execute("drop table query_log")
        connection.execute("alter table plain rename to query_log")
        connection.execute(FLUSH)
        (part,) = read_parts(connection)
    assert (part.name, part.is_default, part.lower) == ("query_log", False, OLDEST)
    assert not again(database).done
    write(database, OLD)
    assert periods(again(database)) == hour_and_day(OLD)
    with connect(database.upkeep) as connection:
        assert set(read_marks(connection)) == {"query_log"}
