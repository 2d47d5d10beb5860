import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import median

import pytest

from ops_workflows.local.seed_calendar import DAYS
from ops_workflows.local.seed_rows import COLUMNS, Workload

BASE = datetime(2026, 7, 1, tzinfo=UTC)
ROWS = 20_000


@pytest.fixture(scope="module")
def workload() -> Workload:
    return Workload(seed=1, rows=ROWS, base=BASE)


def rows(workload: Workload, table: str) -> Iterator[dict[str, str]]:
    names = COLUMNS[table].split(", ")
    for line in workload.lines(table):
        assert line.endswith("\n")
        yield dict(zip(names, line[:-1].split("\t"), strict=True))


@pytest.mark.parametrize("table", COLUMNS)
def test_equal_seed_and_base_give_equal_rows(workload: Workload, table: str) -> None:
    lines = list(workload.lines(table))
    assert lines == list(Workload(1, ROWS, BASE).lines(table))
    assert not set(lines) & set(Workload(2, ROWS, BASE).lines(table))


@pytest.mark.parametrize("table", COLUMNS)
def test_there_are_as_many_rows_as_were_promised(workload: Workload, table: str) -> None:
    assert sum(1 for _ in workload.lines(table)) == workload.counts[table]


@pytest.mark.parametrize("count", [1, 7, 1439, 1441])
def test_any_number_of_queries_is_met_exactly(count: int) -> None:
    assert sum(1 for _ in Workload(3, count, BASE).lines("query_log")) == count


def test_unique_columns_are_unique_between_seeds_too(workload: Workload) -> None:
    both = [workload, Workload(2, ROWS, BASE)]
    for table, column in (
        ("users", "username"),
        ("users", "email"),
        ("api_keys", "key_hash"),
        ("panchangam_cache", "cache_key"),
        *((table, "id") for table in COLUMNS),
    ):
        values = [row[column] for one in both for row in rows(one, table)]
        assert len(set(values)) == len(values), (table, column)


def test_queries_are_in_the_order_of_time_within_the_sixty_days(workload: Workload) -> None:
    times = [row["created_at"] for row in rows(workload, "query_log")]
    assert all(earlier <= later for earlier, later in pairwise(times))
    assert datetime.fromisoformat(times[0]) >= BASE - timedelta(days=DAYS)
    assert datetime.fromisoformat(times[-1]) < BASE


def test_nights_are_quieter_than_days(workload: Workload) -> None:
    hours = Counter(row["created_at"][11:13] for row in rows(workload, "query_log"))
    assert hours["01"] > 3 * hours["19"]  # 06:30 and 00:30 in India


def test_few_places_and_people_make_most_of_the_queries(workload: Workload) -> None:
    found = list(rows(workload, "query_log"))
    places = Counter((row["latitude"], row["longitude"]) for row in found)
    users = Counter(row["user_id"] for row in found)
    assert len(places) > 200
    assert sum(count for _, count in places.most_common(20)) > 0.4 * ROWS
    assert 0.3 * ROWS < users.pop(r"\N") < 0.4 * ROWS
    assert sum(count for _, count in users.most_common(len(users) // 10)) > 0.35 * users.total()


def test_popular_places_are_answered_from_the_cache_and_sooner(workload: Workload) -> None:
    found = list(rows(workload, "query_log"))
    places = Counter(row["latitude"] for row in found)
    popular, rare = {name for name, _ in places.most_common(10)}, {name for name, _ in places.most_common()[-200:]}

    def hit_rate(names: set[str]) -> float:
        hits = [row["cache_hit"] == "t" for row in found if row["latitude"] in names]
        return sum(hits) / len(hits)

    assert hit_rate(popular) > 0.8
    assert hit_rate(rare) < 0.5
    took = {hit: [int(row["response_time_ms"]) for row in found if row["cache_hit"] == hit] for hit in "tf"}
    assert 3 <= median(took["t"]) <= 5
    assert 75 <= median(took["f"]) <= 95
    assert max(took["f"]) > 4 * median(took["f"])  # the long tail


def test_ids_of_queries_are_version_7_and_carry_their_time(workload: Workload) -> None:
    for row in rows(workload, "query_log"):
        assert re.fullmatch(r"[0-9a-f]{12}7[0-9a-f]{3}8[0-9a-f]{15}", row["id"])
        at = datetime.fromisoformat(row["created_at"]).timestamp() * 1000
        assert abs(int(row["id"][:12], 16) - at) < 2


def test_some_calculations_have_expired_and_some_have_not(workload: Workload) -> None:
    fresh = [datetime.fromisoformat(row["expires_at"]) > BASE for row in rows(workload, "panchangam_cache")]
    assert 0.4 < sum(fresh) / len(fresh) < 0.6


@pytest.mark.parametrize("table", ["user_preferences", "api_keys", "audit_log", "query_log"])
def test_users_that_rows_belong_to_exist(workload: Workload, table: str) -> None:
    known = {row["id"] for row in rows(workload, "users")} | {r"\N"}
    assert {row["user_id"] for row in rows(workload, table)} <= known
