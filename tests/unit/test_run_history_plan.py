"""Which of Dagster's old runs go, case by case, and what holds whatever the case."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ops_workflows.errors import ConfigurationError
from ops_workflows.run_history.defs import HistoryConfig
from ops_workflows.run_history.held import held_backups
from ops_workflows.run_history.plan import Held, HistoryPlan, Named, Policy, Reason, RunFacts, decide, plan
from ops_workflows.settings import MOST_DAYS, Settings

NOW = datetime(2026, 3, 29, 5, 50, tzinfo=UTC)
POLICY = Policy(timedelta(days=30), timedelta(days=180), timedelta(days=400))
CLUSTER = "7301234567890123456"
KEPT, GONE = "20260131T020000Z-7c1e", "20250131T020000Z-aaaa"
HELD = Held({CLUSTER: {KEPT}})


def run(days: float, run_id: str = "run", **facts: object) -> RunFacts:
    made = RunFacts(run_id, "nightly_backup", succeeded=True, ended=NOW - timedelta(days=days))
    return replace(made, **facts)  # type: ignore[arg-type]  # of whatever fields a case is about


def named(backup_id: str, system: str | None = CLUSTER) -> frozenset[Named]:
    return frozenset({Named(backup_id, system)})


def planned(*runs: RunFacts, held: Held = HELD, most: int = 100) -> HistoryPlan:
    return plan(runs, POLICY, held, NOW, most=most)


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (run(29.9), Reason.YOUNG),
        (run(30), None),
        (run(-1), Reason.YOUNG),
        (run(-4000), Reason.YOUNG),
        (run(179, succeeded=False), Reason.YOUNG),
        (run(180, succeeded=False), None),
        (run(9000, newest_of=frozenset({"base_backup"})), Reason.NEWEST),
        (run(9000, newest_of=frozenset({"base_backup: sound"}), succeeded=False), Reason.NEWEST),
        (run(399, newest_partition_of=frozenset({"query_stats_hourly"})), Reason.PARTITION),
        (run(400, newest_partition_of=frozenset({"query_stats_hourly"})), None),
        (run(31, newest_partition_of=frozenset({"a"}), newest_of=frozenset({"a"})), Reason.NEWEST),
        (run(9000, opened_by="backfill abcd"), Reason.OPEN),
        (run(9000, is_retried=True), Reason.RETRIED),
        (run(29, is_retried=True), Reason.YOUNG),
        (run(9000, names=named(KEPT)), Reason.EVIDENCE),
        (run(9000, names=named(KEPT, None)), Reason.EVIDENCE),
        (run(9000, names=named(KEPT) | named(GONE)), Reason.EVIDENCE),
        (run(9000, names=named(GONE)), None),
        (run(9000, names=named(GONE, None)), None),
        (run(9000, names=named(KEPT, "1")), Reason.UNVERIFIED),
        (run(9000, names=named(GONE, "1") | named(GONE)), Reason.UNVERIFIED),
        (run(29, names=named(GONE)), Reason.YOUNG),
    ],
)
def test_why_a_run_stays(facts: RunFacts, why: Reason | None) -> None:
    assert decide(facts, POLICY, HELD, NOW) is why


@pytest.mark.parametrize(
    ("held", "backup_id", "system", "has"),
    [
        (HELD, KEPT, CLUSTER, True),
        (HELD, GONE, CLUSTER, False),
        (HELD, GONE, "1", None),
        (Held({}), GONE, None, None),
        (Held({}), GONE, CLUSTER, None),
        (Held({CLUSTER: set()}), GONE, CLUSTER, False),
        (Held({CLUSTER: {KEPT}}, "The bucket did not answer."), GONE, CLUSTER, None),
        (Held({CLUSTER: {KEPT}}, "The bucket did not answer."), KEPT, CLUSTER, True),
    ],
)
def test_what_could_not_be_looked_for_is_neither_there_nor_gone(
    held: Held, backup_id: str, system: str | None, has: bool | None
) -> None:
    assert held.has(Named(backup_id, system)) is has


def test_what_could_not_be_verified_stays_and_is_said() -> None:
    away = Held({}, "The bucket did not answer.")
    done = planned(run(9000, names=named(GONE)), run(9000, "other"), run(9000, "third", names=named(KEPT)), held=away)
    assert [each.run_id for each in done.gone] == ["other"]
    assert done.kept == {Reason.UNVERIFIED: 2}
    assert done.notes == (
        "It could not be verified whether backups named by 2 runs are kept, so these stay. The bucket did not answer.",
    )
    (note,) = planned(run(9000, names=named(GONE, "1"))).notes
    assert "OPS_S3_PREFIX" in note


def test_the_oldest_go_first_and_no_more_are_asked_for_than_needed() -> None:
    asked = count()
    endless = (run(9000 - number, str(number)) for number in asked)
    done = plan(endless, POLICY, HELD, NOW, most=3)
    assert ([each.run_id for each in done.gone], done.more) == (["0", "1", "2"], True)
    assert next(asked) == 4
    all_of_them = planned(*islice((run(9000, str(number)) for number in count()), 3), most=3)
    assert (len(all_of_them.gone), all_of_them.more) == (3, False)


names = st.frozensets(st.sampled_from(["a", "b"]))
facts = st.builds(
    run,
    st.floats(-1000, 10_000),
    run_id=st.uuids().map(str),
    succeeded=st.booleans(),
    newest_of=names,
    newest_partition_of=names,
    opened_by=st.sampled_from(["", "", "run x"]),
    is_retried=st.booleans(),
    names=st.frozensets(st.builds(Named, st.sampled_from([KEPT, GONE]), st.sampled_from([CLUSTER, "1", None]))),
)


@given(
    st.lists(facts, max_size=6), st.integers(1, 5), st.sampled_from([HELD, Held({}), Held({CLUSTER: {KEPT}}, "Away.")])
)
def test_nothing_goes_that_has_to_stay_and_what_need_not_does_in_the_end(
    runs: list[RunFacts], most: int, held: Held
) -> None:
    left, gone = list(runs), list[RunFacts]()
    while (done := planned(*left, held=held, most=most)).gone:
        assert len(done.gone) <= most
        assert done.more == (sum(decide(each, POLICY, held, NOW) is None for each in left) > most)
        gone += done.gone
        left = [each for each in left if each not in done.gone]
    for each in gone:
        assert each.ended <= NOW - timedelta(days=30 if each.succeeded else 180)
        assert not each.newest_of
        assert not each.opened_by
        assert not each.is_retried
        assert all(held.has(name) is False for name in each.names)
    assert all(decide(each, POLICY, held, NOW) is not None for each in left)
    assert sum(done.kept.values()) == len(left)


@pytest.mark.parametrize("which", ["SUCCESS", "FAILURE", "PARTITION", "EVENT"])
def test_an_age_that_no_calendar_reaches_back_to_is_refused(
    which: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    variable = f"OPS_HISTORY_{which}_DAYS"
    monkeypatch.setenv(variable, str(MOST_DAYS))
    assert getattr(Settings.read(tmp_path), f"history_{which.lower()}_days") == MOST_DAYS
    monkeypatch.setenv(variable, "1000000")
    with pytest.raises(ConfigurationError, match=f"{variable} cannot be used"):
        Settings.read(tmp_path)


@pytest.mark.parametrize("which", ["success_days", "failure_days", "event_days", "tick_days"])
def test_nor_does_the_job_take_one(which: str) -> None:
    assert getattr(HistoryConfig.model_validate({which: MOST_DAYS}), which) == MOST_DAYS
    with pytest.raises(ValidationError, match=which):
        HistoryConfig.model_validate({which: 1_000_000})


def test_what_is_held_is_seen_by_name_in_both_repositories(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for at in (first / CLUSTER / "backups" / "whole", second / CLUSTER / "dumps" / "dump", second / "7" / "wal"):
        at.mkdir(parents=True)
        (at / "object").touch()
    settings = Settings(repository_url=f"file://{first}", mirror_url=f"file://{second}")
    assert held_backups(settings) == Held({CLUSTER: {"whole", "dump"}, "7": set()})


def test_a_repository_that_cannot_be_looked_into_is_said(tmp_path: Path) -> None:
    at = tmp_path / CLUSTER / "backups" / "whole"
    at.mkdir(parents=True)
    (at / "object").touch()
    url = f"file://{tmp_path}"
    held = held_backups(Settings(repository_url=url, mirror_url=url))
    assert held.ids == {}
    assert "OPS_MIRROR_URL" in held.unknown
    away = held_backups(Settings(s3_bucket=None))
    assert "OPS_S3_BUCKET" in away.unknown
