"""What the checks of the caches say of what was seen."""

import ast
from dataclasses import replace
from pathlib import Path

import pytest

from ops_workflows import cache
from ops_workflows.cache.checks import keys_finding, memory_finding, pruning_finding, table_findings
from ops_workflows.cache.keyspace import Swept, read_facts
from ops_workflows.cache.prune import Pruned
from ops_workflows.cache.table import Left, TableState

IDLE = read_facts({"used_memory": 50, "maxmemory": 100, "maxmemory_policy": "noeviction"})


def test_a_lean_table_is_lean() -> None:
    assert all(each.passed for each in table_findings(Left(0, "", 0, ""), 366).values())


def test_what_could_not_be_seen_is_not_passed() -> None:
    assert not any(each.passed for each in table_findings(None, 366).values())
    assert not memory_finding(replace(IDLE, loading=True)).passed
    assert not keys_finding(Swept(IDLE, IDLE, complete=False), dry_run=False).passed


@pytest.mark.parametrize(
    ("used", "most", "passed"), [(50, 100, True), (90, 100, False), (120, 100, False), (9, 0, True)]
)
def test_memory_is_left_until_most_of_it_is_used(used: int, most: int, passed: bool) -> None:
    found = memory_finding(replace(IDLE, used_bytes=used, most_bytes=most))
    assert found.passed is passed
    assert found.evidence["memory_bytes"] == used


@pytest.mark.parametrize(
    ("in_time", "rows", "stay", "passed"),
    [
        (True, 0, 0, True),
        (True, 0, 3, True),
        (False, 5, 3, True),
        (False, 0, 0, True),
        (False, 0, 3, False),
        (False, 0, None, False),
    ],
)
def test_pruning_has_come_through_unless_it_was_held_up_and_did_nothing_where_something_was_to_do(
    in_time: bool, rows: int, stay: int | None, passed: bool
) -> None:
    table = TableState(9, 0, 8192, None, bloat_measured=False, vacuumed_at=None, may_vacuum=True)
    done = Pruned(table, table, rows={"expired": rows}, in_time=in_time, stay=stay, ended="it was late")
    found = pruning_finding(done)
    assert (found.passed, found.said) == (passed, "It was late.")


def test_one_that_evicts_may_be_full() -> None:
    found = memory_finding(replace(IDLE, used_bytes=100, policy="allkeys-lru"))
    assert (found.passed, found.said) == (True, "100% used; when full, it evicts (allkeys-lru).")


def test_keys_that_got_their_expiry_have_it_and_those_that_would_get_one_have_none() -> None:
    swept = Swept(IDLE, IDLE, scanned=9, given_expiry=3)
    assert keys_finding(swept, dry_run=False).passed
    found = keys_finding(swept, dry_run=True)
    assert (found.passed, found.said.startswith("3 keys would stay for ever")) == (False, True)


def test_what_has_expired_is_for_the_servers_clock_to_say_and_never_for_ours() -> None:
    asked = set()
    for module in Path(cache.__file__).parent.glob("*.py"):
        calls = (node for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.Call))
        asked |= {ast.unparse(call.func) for call in calls}
    assert "time.monotonic" in asked
    ours = ("time.time", "now", "utcnow", "today", "utc_now", "fromtimestamp", "gmtime", "localtime")
    assert [name for name in asked if name.endswith(ours)] == []
