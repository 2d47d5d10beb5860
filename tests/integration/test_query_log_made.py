"""Months of the query log are made ahead of time, and rows that had none move in, where that takes nothing along."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from ops_workflows.analytics.months import Month, read_months
from ops_workflows.analytics.months_keep import keep_months, plan_months
from ops_workflows.errors import RefusedError
from ops_workflows.postgres.connection import connect
from ops_workflows.schema.apply import migrate_up
from ops_workflows.settings import Settings
from tests.support.command import ops_here
from tests.support.schema import MIGRATIONS, Database, own_database, rows

THIS = Month.around(datetime.now(UTC))


@dataclass(frozen=True)
class Logged:
    """A query log without a row."""

    database: Database
    settings: Settings

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return rows(self.database.owner, query)

    def do(self, statement: str) -> None:
        with connect(self.database.owner) as connection:
            connection.execute(statement.encode())

    def partitions(self) -> set[str]:
        with connect(self.database.owner) as connection:
            return {each.name for each in read_months(connection).partitions}


@pytest.fixture(scope="module")
def logged(settings: Settings) -> Iterator[Logged]:
    with own_database(settings) as database:
        migrate_up(database.owner, MIGRATIONS)
        yield Logged(database, settings.model_copy(update={"owner_dsn": SecretStr(database.owner)}))


def test_months_are_made_ahead_and_rows_without_one_move_in(logged: Logged) -> None:
    far, gap = THIS.later(30), THIS.later(-40)
    ahead = [THIS.later(number) for number in range(1, 7)]
    for month in (far, gap, THIS.later(5)):
        logged.do(f"insert into query_log (query_type, created_at) values ('odd', '{month.start}')")
    logged.do("insert into query_log (query_type, created_at) values ('odd', 'infinity'), ('odd', '0044-03-15 BC')")
    wide = logged.settings.model_copy(update={"query_log_months_ahead": 6})
    before = logged.rows("select id, created_at::text, query_type from query_log order by 1")
    plan = plan_months(wide)
    assert set(plan.to_make) == {gap, *ahead[3:]}
    assert any("3 rows in query_log_default are of times that have not come" in note for note in plan.notes)
    assert set(keep_months(wide).made) == {gap, *ahead[3:]}
    assert {month.partition for month in (gap, *ahead)} <= logged.partitions()
    assert logged.rows("select id, created_at::text, query_type from query_log order by 1") == before
    assert logged.rows("select count(*) from query_log_default") == [(3,)]
    assert logged.rows(f"select count(*) from {ahead[4].partition}") == [(1,)]
    assert keep_months(wide).made == []
    told = "select count(*) > 0 from pg_stats where tablename = 'query_log' and inherited"
    assert logged.rows(told) == [(True,)], "nobody else analyzes it"


def test_too_many_rows_are_not_moved_under_a_lock(logged: Logged) -> None:
    month = THIS.later(-50)
    logged.do(
        f"insert into query_log (query_type, created_at) select 'odd', '{month.start}' from generate_series(1, 9)"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ops_workflows.analytics.months_plan.MOST_MOVED", 8)
        done = keep_months(logged.settings)
    assert month not in done.made
    assert any(f"9 rows of {month} lie in query_log_default, too many to move" in note for note in done.plan.notes)
    assert keep_months(logged.settings).made == [month]


def test_a_name_that_is_taken_is_refused(logged: Logged) -> None:
    month = THIS.later(7)
    logged.do(f"create table {month.partition} (id int)")
    with pytest.raises(RefusedError, match=f"{month.partition} is there and is no partition"):
        keep_months(logged.settings.model_copy(update={"query_log_months_ahead": 7}))
    logged.do(f"drop table {month.partition}")


def test_rows_move_by_the_names_of_their_columns(logged: Logged) -> None:
    """Into a month of a log with a generated column, out of a default partition of another name and order."""
    month = THIS.later(-30)
    logged.do(
        "alter table query_log detach partition query_log_default; alter table query_log_default rename to former; "
        "alter table query_log add column slow boolean generated always as (response_time_ms > 100) stored; "
        "create table rest (created_at timestamptz not null default now(), longitude numeric(11, 8), "
        "latitude numeric(10, 8), id uuid not null default gen_random_uuid(), user_id uuid, query_type text not null, "
        "date date, timezone text, calculation_system calculation_system, response_time_ms integer "
        "constraint query_log_response_time_ms_check check (response_time_ms >= 0), "
        "cache_hit boolean not null default false, slow boolean generated always as (response_time_ms > 100) stored); "
        "alter table query_log attach partition rest default; "
        "insert into query_log (query_type, latitude, longitude, response_time_ms, created_at) "
        f"values ('odd', 12.5, 77.25, 101, '{month.start}')"
    )
    moved = "select latitude, longitude, slow, tableoid::regclass::text from query_log where latitude = 12.5"
    assert logged.rows(moved) == [(Decimal("12.5"), Decimal("77.25"), True, "rest")]
    assert keep_months(logged.settings).made == [month]
    assert logged.rows(moved) == [(Decimal("12.5"), Decimal("77.25"), True, month.partition)]


def test_rows_that_others_hang_on_are_not_moved(logged: Logged) -> None:
    """A deletion that is none must not take along what refers to them."""
    logged.do(
        "create table feedback (id uuid, at timestamptz, foreign key (id, at) references query_log on delete cascade); "
        f"insert into query_log (query_type, created_at) values ('odd', '{THIS.later(-31).start}')"
    )
    done = keep_months(logged.settings)
    assert done.made == []
    assert any("a foreign key of feedback refers to the log" in note for note in done.plan.notes)
    logged.do("drop table feedback")
    assert keep_months(logged.settings).made == [THIS.later(-31)]


def test_a_log_without_partitions_is_refused_in_a_sentence(logged: Logged, tmp_path: Path) -> None:
    logged.do("alter table query_log rename to query_log_kept; create table query_log (created_at timestamptz)")
    try:
        refused = ops_here(logged.settings, tmp_path, "query-log", "--apply")
    finally:
        logged.do("drop table query_log; alter table query_log_kept rename to query_log")
    assert refused.code == 1
    assert "public.query_log is not partitioned" in refused.sentence
