"""Answers from the statistics are those that the raw rows give."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any

import pytest
from pydantic import SecretStr

from ops_workflows.analytics import distinct, histogram
from ops_workflows.analytics.answers import By, Question, ask
from ops_workflows.analytics.rollup import roll_up_due
from ops_workflows.errors import ConfigurationError
from ops_workflows.local.seed import seed
from ops_workflows.postgres.connection import connect
from ops_workflows.schema.apply import OWN_DIRECTORY, migrate_up
from ops_workflows.settings import Settings
from tests.support.command import ops_here
from tests.support.schema import MIGRATIONS, Database, own_database, rows

BASE = datetime(2026, 5, 1, tzinfo=UTC)
FIRST, LAST = date(2026, 4, 20), date(2026, 4, 29)
RAW = """
    select {key}::text, count(*), avg(cache_hit::int)::float8, count(distinct user_id),
        percentile_cont(array[0.5, 0.95, 0.99]) within group (order by response_time_ms)
    from query_log where created_at >= '2026-04-20Z' and created_at < '2026-04-30Z' group by 1 order by 1"""


@pytest.fixture(scope="module")
def database(settings: Settings) -> Iterator[Database]:
    with own_database(settings) as made:
        migrate_up(made.owner, MIGRATIONS)
        seed(made.owner, rows=10_000, seed=1, base=BASE)
        roll_up_due(made.upkeep)
        rows(made.owner, "delete from ops.query_stats_daily where period = '2026-04-22Z' returning 1")  # hours stand in
        yield made


@pytest.mark.parametrize(
    ("by", "key"), [(By.DAY, "(created_at at time zone 'UTC')::date"), (By.QUERY_TYPE, "query_type")]
)
def test_answers_are_those_of_the_raw_rows(database: Database, by: By, key: str) -> None:
    exact = rows(database.upkeep, RAW.format(key=key))
    found = ask(database.upkeep, by, FIRST, LAST)
    assert [(each.key, each.queries) for each in found] == [row[:2] for row in exact]
    assert [each.hit_rate for each in found] == pytest.approx([row[2] for row in exact])
    for each, (*_, users, percentiles) in zip(found, exact, strict=True):
        assert each.users == pytest.approx(users, rel=0.05)
        assert [each.p50_ms, each.p95_ms, each.p99_ms] == pytest.approx(percentiles, rel=0.01)


def test_a_person_asks_at_the_terminal(settings: Settings, database: Database, tmp_path: Path) -> None:
    own = settings.model_copy(update={"upkeep_dsn": SecretStr(database.upkeep)})
    between = ("--from", "2026-04-20", "--to", "2026-04-29")
    busiest = json.loads(ops_here(own, tmp_path, "analytics", "top", *between, "--json").out)
    assert [each["queries"] for each in busiest] == sorted((each["queries"] for each in busiest), reverse=True)
    assert busiest[0]["key"] == "daily_panchangam"
    for command, column in (("latency", "p99"), ("cache-hit", "hit rate"), ("growth", "users")):
        shown = ops_here(own, tmp_path, "analytics", command, *between)
        assert shown.code == 0, shown.err
        assert column in shown.out
        assert "2026-04-22" in shown.out
    assert "daily_panchangam" not in ops_here(own, tmp_path, "analytics", "latency", *between, "--by", "region").out


def test_a_person_has_the_answers_drawn(settings: Settings, database: Database, tmp_path: Path) -> None:
    own = settings.model_copy(update={"upkeep_dsn": SecretStr(database.upkeep)})
    between = ("--from", "2026-04-20", "--to", "2026-04-29")
    for command, by in [*zip(cycle(Question), By, strict=False), (Question.GROWTH, By.DAY), (Question.LATENCY, By.DAY)]:
        drawn = ops_here(own, tmp_path, "analytics", command, *between, "--by", by, "--plot", f"{command}-{by}.svg")
        assert (drawn.code, drawn.out, drawn.err) == (0, f"{command}-{by}.svg was written.\n", "")
    last = ask(database.upkeep, By.DAY, LAST, LAST)[0]
    assert f">p99 {last.p99_ms:,.0f} ms<" in (tmp_path / "latency-day.svg").read_text()
    assert f">users {last.users:,}<" in (tmp_path / "growth-day.svg").read_text()
    both = ops_here(own, tmp_path, "analytics", "growth", *between, "--json", "--plot", tmp_path / "growth.png")
    assert json.loads(both.out)[-1]["users"] == last.users
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


def test_where_nothing_was_asked_the_command_says_so(settings: Settings, database: Database, tmp_path: Path) -> None:
    own = settings.model_copy(update={"upkeep_dsn": SecretStr(database.upkeep)})
    long_ago = ("--from", "2001-01-01", "--to", "2001-01-31")
    for more in ((), ("--plot", "a.svg")):
        done = ops_here(own, tmp_path, "analytics", "top", *long_ago, *more)
        assert (done.code, "no statistics from 2001-01-01 to 2001-01-31" in done.err) == (0, True)
    assert "There are no statistics of any query here." in (tmp_path / "a.svg").read_text()
    assert ops_here(own, tmp_path, "analytics", "top", *long_ago, "--json").out == "[]\n"


def test_a_query_type_is_printed_as_it_is(settings: Settings, database: Database, tmp_path: Path) -> None:
    own = settings.model_copy(update={"upkeep_dsn": SecretStr(database.upkeep)})
    rows(
        database.owner,
        "insert into query_log (query_type, created_at) values ('[/b]$x$', '2026-03-01Z') returning 1",
    )
    roll_up_due(database.upkeep)
    for more in ((), ("--plot", "a.svg")):
        done = ops_here(own, tmp_path, "analytics", "top", "--from", "2026-03-01", "--to", "2026-03-01", *more)
        assert done.code == 0, done.err
        shown = done.out if not more else (tmp_path / "a.svg").read_text()
        assert "[/b]$x$" in shown


def test_days_in_the_wrong_order_are_refused(database: Database) -> None:
    with pytest.raises(ConfigurationError, match="2026-04-20 is before 2026-04-29"):
        ask(database.upkeep, By.DAY, LAST, FIRST)


def test_a_dashboard_reads_from_the_view_what_a_person_is_told(database: Database) -> None:
    day = date(2026, 4, 25)
    told = ask(database.upkeep, By.QUERY_TYPE, day, day)
    query = "query_type, queries, hit_rate, users, p50_ms, p95_ms, p99_ms from ops.query_answers_daily"
    read = rows(database.upkeep, f"select {query} where period = '{day}Z' order by query_type")
    assert len(told) > 3
    for each, row in zip(told, read, strict=True):
        assert row[:2] == (each.key, each.queries)
        assert row[2:] == pytest.approx((each.hit_rate, each.users, each.p50_ms, each.p95_ms, each.p99_ms))
    users = rows(database.upkeep, f"select users from ops.query_users_daily where period = '{day}Z'")
    assert users == [(each.users,) for each in ask(database.upkeep, By.DAY, day, day)]


def test_a_dashboard_reads_all_queries_of_an_hour_or_a_day_together(database: Database) -> None:
    """And of no other period than it asks for: otherwise a view would be slower each month."""
    day = date(2026, 4, 25)
    (told,) = ask(database.upkeep, By.DAY, day, day)
    figures = "queries, hit_rate, users, p50_ms, p95_ms, p99_ms"
    (read,) = rows(database.upkeep, f"select {figures} from ops.query_totals_daily where period = '{day}Z'")
    expected = (told.queries, told.hit_rate, told.users, told.p50_ms, told.p95_ms, told.p99_ms)
    assert read == pytest.approx(expected)
    of_day = f"where period >= '{day}Z' and period < '{day}Z'::timestamptz + interval '1 day'"
    hours = rows(database.upkeep, f"select sum(queries) from ops.query_totals_hourly {of_day}")
    types = rows(database.upkeep, f"select sum(queries) from ops.query_answers_hourly {of_day}")
    assert hours == types == [(told.queries,)]
    for view, table in (("query_totals_daily", "query_stats_daily"), ("query_answers_hourly", "query_stats_hourly")):
        plan = rows(database.upkeep, f"explain (analyze, format json) select * from ops.{view} {of_day}")[0][0]
        read_rows = sum(node["Actual Rows"] * node["Actual Loops"] for node in nodes(plan[0]["Plan"], table))
        (there,) = rows(database.upkeep, f"select count(*) from ops.{table} {of_day}")[0]
        assert read_rows <= 3.001 * there, "the totals, the times, and the users"


def nodes(plan: dict[str, Any], table: str) -> list[dict[str, Any]]:
    """The places of a plan where a table itself is read."""
    below = [node for part in plan.get("Plans", []) for node in nodes(part, table)]
    return [plan, *below] if plan.get("Relation Name") == table else below


def test_the_migrations_have_a_way_back(database: Database) -> None:
    left = "select count(*) from pg_class where relnamespace = 'ops'::regnamespace and relname like 'query%'"
    with connect(database.owner) as connection, connection.transaction(force_rollback=True):
        assert connection.execute(left).fetchone() != (0,)
        for file in sorted(OWN_DIRECTORY.glob("*.down.sql"), reverse=True):
            if file.name >= "000004_query_stats":
                connection.execute(file.read_bytes())
        assert connection.execute(left).fetchone() == (0,)


def test_the_arithmetic_in_the_database_is_that_of_the_program(database: Database) -> None:
    random = Random(1)
    with connect(database.upkeep) as connection:
        for count in (0, 1, 700, 4096):
            sketch = [register * 64 + random.randint(1, 53) for register in range(count)]
            (users,) = connection.execute("select ops.distinct_users(%s::int[])", [sketch]).fetchone() or ()
            assert users == pytest.approx(distinct.estimate(sketch))
        times = Counter(histogram.bin_of(random.randint(0, 1_000_000)) for _ in range(300))
        bins = sorted(times)
        for share in (0, 0.123, 0.5, 0.99, 1):
            (found,) = (
                connection.execute(
                    "select ops.latency_percentile(%s::smallint[], %s::bigint[], %s)",
                    [bins, [times[each] for each in bins], share],
                ).fetchone()
                or ()
            )
            assert found == pytest.approx(histogram.percentile(times, share))
        nothing = connection.execute("select ops.latency_percentile('{}', '{}', 0.5)").fetchone()
    assert nothing == (None,)
