"""What retention keeps, case by case. That it keeps its promises whatever the case: test_retention_promises.py."""

from datetime import UTC, datetime, timedelta

import pytest

from ops_workflows.postgres.lsn import Lsn
from ops_workflows.repository.backup_facts import BackupFacts
from ops_workflows.repository.retention import Policy, RetentionPlan, plan
from ops_workflows.repository.wal import Branch, Piece, WalListing
from ops_workflows.repository.wal_need import WalFacts

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
SEGMENT = 16 * 2**20
NO_WAL = WalFacts(WalListing(()))
ONLY_NEWEST = Policy(1, 0, 0)


def a_backup(
    days_ago: float,
    *,
    timeline: int = 1,
    at: int | None = None,
    parent: BackupFacts | None = None,
    proofs: dict[str, bool] | None = None,
) -> BackupFacts:
    """A backup that began at segment `at`; by default the log grows by ten segments a day."""
    finished = NOW - timedelta(days=days_ago)
    start = round(1000 - 10 * days_ago) if at is None else at
    return BackupFacts(
        id=f"{finished:%Y%m%dT%H%M%SZ}-{timeline:04x}",
        finished_at=finished,
        timeline=timeline,
        start_lsn=Lsn(start * SEGMENT + 40),
        stop_lsn=Lsn(start * SEGMENT + 400),
        parent=parent and parent.id,
        stored_bytes=1000,
        proofs=proofs or {},
    )


def wal(timeline: int, *numbers: int) -> tuple[Piece, ...]:
    return tuple(
        Piece(f"{timeline}/{number}", timeline, Lsn(number * SEGMENT), Lsn((number + 1) * SEGMENT), None, True)
        for number in numbers
    )


def planned(
    *backups: BackupFacts,
    log: WalFacts = NO_WAL,
    pins: dict[str, str] | None = None,
    policy: Policy = ONLY_NEWEST,
    now: datetime = NOW,
) -> RetentionPlan:
    return plan(backups, log, pins or {}, policy, now)


def why(done: RetentionPlan, backup: BackupFacts) -> tuple[bool, str]:
    decision = next(decision for decision in done.decisions if decision.backup is backup)
    return decision.keep, "; ".join(decision.reasons)


def test_nothing() -> None:
    done = planned(log=WalFacts(WalListing(wal(1, 1, 2))))
    assert (done.decisions, done.wal, done.freed_bytes) == ((), (), 0)


def test_days_weeks_and_months_each_keep_their_last() -> None:
    daily = [a_backup(days) for days in range(100)]
    done = planned(*daily, policy=Policy(3, 2, 3))
    assert {backup.id[:8] for backup in done.kept} == {
        "20260331", "20260330", "20260329",  # three days; the 29th is a Sunday and ends the second week
        "20260228", "20260131",
    }  # fmt: skip
    assert why(done, daily[0])[1].startswith("daily 2026-03-31; weekly 2026-W14; monthly 2026-03; newest")
    assert why(done, daily[2])[1] == "daily 2026-03-29; weekly 2026-W13"
    assert why(done, daily[31])[1] == "monthly 2026-02"
    assert why(done, daily[3]) == (False, "past the 3 daily, 2 weekly and 3 monthly")
    assert done.freed_bytes == 95 * 1000


def test_days_are_utc() -> None:
    late = BackupFacts(
        id="late",
        finished_at=datetime.fromisoformat("2026-03-30T01:30:00+02:00"),
        timeline=1,
        start_lsn=Lsn(1),
        stop_lsn=Lsn(2),
    )
    assert why(planned(late), late)[1].startswith("daily 2026-03-29")


def test_of_one_day_the_last_stays_and_the_others_say_which() -> None:
    morning, noon = a_backup(0.2), a_backup(0.1)
    done = planned(morning, noon)
    assert why(done, morning) == (False, f"daily 2026-03-31 is {noon.id}")


def test_of_one_day_a_backup_that_failed_its_proof_does_not_push_out_one_that_did_not() -> None:
    good, bad, newest = a_backup(1.2), a_backup(1.1, proofs={"stored": False}), a_backup(0)
    done = planned(good, bad, newest, policy=Policy(2, 0, 0))
    assert why(done, good) == (True, "daily 2026-03-30")
    assert not why(done, bad)[0]


def test_no_backup_for_months_lets_nothing_go() -> None:
    old = [a_backup(days) for days in range(300, 305)]
    done = planned(*old, policy=Policy(5, 0, 0))
    assert not done.gone


def test_the_last_with_the_highest_rung_stays_until_another_reaches_it() -> None:
    booted = a_backup(50, proofs={"stored": True, "checksummed": True, "booted": True})
    older = a_backup(60, proofs={"stored": True, "checksummed": True, "booted": True})
    lost = a_backup(40, proofs={"stored": False, "checksummed": True, "booted": True})
    newest = a_backup(0, proofs={"stored": True, "checksummed": True})
    done = planned(older, booted, lost, newest)
    assert why(done, booted) == (True, "last backup that reached booted")
    assert {backup.id for backup in done.gone} == {older.id, lost.id}


def test_a_newest_backup_that_failed_does_not_replace_the_one_before() -> None:
    before, failed = a_backup(5), a_backup(0, proofs={"stored": False})
    done = planned(before, failed)
    assert not done.gone
    assert why(done, before)[1] == "furthest along timeline 1"


def test_pins() -> None:
    pinned, said, newest = a_backup(50), a_backup(40), a_backup(0)
    done = planned(pinned, said, newest, pins={pinned.id: "", said.id: "before the audit", "unknown": "gone"})
    assert why(done, pinned) == (True, "pinned")
    assert why(done, said) == (True, "pinned: before the audit")


def test_a_chain_stays_whole_and_goes_from_its_end() -> None:
    full = a_backup(20)
    first = a_backup(19, parent=full)
    second = a_backup(18, parent=first)
    newest = a_backup(0)
    kept = planned(full, first, second, newest, pins={first.id: ""})
    assert why(kept, full) == (True, f"parent of {first.id}")
    assert [backup.id for backup in kept.gone] == [second.id]
    gone = planned(full, first, second, newest)
    assert [backup.id for backup in gone.gone] == [second.id, first.id, full.id]


def test_a_lost_parent_is_said_and_its_child_pushes_nothing_out() -> None:
    whole, lost, newest = a_backup(1.2), a_backup(9), a_backup(0)
    orphan = a_backup(1.1, parent=lost)
    done = planned(whole, orphan, newest, policy=Policy(2, 0, 0))
    assert why(done, whole)[0]
    assert done.notes == (f"Backup {orphan.id} cannot be restored: its parent {lost.id} is not in the bucket.",)


@pytest.mark.parametrize("years", [1, -1, -30, 50])
def test_a_clock_that_jumps_lets_nothing_go(years: int) -> None:
    daily = [a_backup(days) for days in range(10)]
    before = planned(*daily, policy=Policy(3, 1, 1))
    after = plan(before.kept, NO_WAL, {}, Policy(3, 1, 1), NOW + timedelta(days=365 * years))
    assert not after.gone


def test_backups_from_the_future_stay_and_count_for_nothing() -> None:
    daily = [a_backup(days) for days in range(5)]
    ahead = [a_backup(-400, at=500), a_backup(-401, at=501)]
    done = planned(*daily, *ahead, policy=Policy(5, 0, 0))
    assert not done.gone
    assert why(done, ahead[0]) == (True, "finished in the future")
    assert "Are all clocks right?" in done.notes[0]


def test_a_clock_that_went_back_does_not_hide_what_is_newest() -> None:
    daily = [a_backup(days) for days in range(5)]
    truly_newest = a_backup(4000, at=2000)
    done = planned(*daily, truly_newest, policy=Policy(5, 0, 0))
    assert why(done, truly_newest) == (True, "furthest along timeline 1")
    assert not done.gone


def test_wal_goes_only_where_no_kept_backup_can_need_it() -> None:
    old, newest = a_backup(50, at=5), a_backup(0, at=8)
    done = planned(old, newest, log=WalFacts(WalListing(wal(1, *range(12))), sizes={"1/3": 7, "1/10": 9}))
    assert [piece.key for piece in done.wal] == [f"1/{number}" for number in range(8)]
    assert done.freed_bytes == 1000 + 7
    pinned = planned(old, newest, log=WalFacts(WalListing(wal(1, *range(12)))), pins={old.id: ""})
    assert [piece.key for piece in pinned.wal] == [f"1/{number}" for number in range(5)]


def test_wal_of_a_later_timeline_is_needed_by_a_backup_from_before_the_fork() -> None:
    before = a_backup(3, at=10)
    log = WalFacts(WalListing(wal(1, *range(8, 14)) + wal(2, 12, 13), frozenset({2})), {2: [Branch(1, _at(12))]})
    done = planned(before, log=log)
    assert [piece.key for piece in done.wal] == ["1/8", "1/9"]


def test_the_backup_that_leads_to_the_living_timeline_stays_although_newer_ones_are_on_a_dead_branch() -> None:
    before, after = a_backup(40, at=10), a_backup(0, at=20)
    log = WalFacts(
        WalListing(wal(1, *range(10, 22)) + wal(2, *range(15, 18)), frozenset({2})), {2: [Branch(1, _at(15))]}
    )
    done = planned(before, after, log=log)
    assert why(done, before) == (True, "furthest along timeline 2")
    assert not done.wal
    ahead = a_backup(-400, timeline=2, at=16)
    assert why(planned(before, after, ahead, log=log), before) == (True, "furthest along timeline 2")


def test_a_branch_that_was_left_behind_goes_when_no_kept_backup_leads_there() -> None:
    newest = a_backup(0, timeline=3, at=30)
    branches = {2: [Branch(1, _at(15))], 3: [Branch(1, _at(18))]}
    log = WalFacts(
        WalListing(wal(1, 17) + wal(2, *range(15, 40)) + wal(3, *range(18, 33)), frozenset({2, 3})), branches
    )
    done = planned(newest, log=log)
    assert {piece.timeline for piece in done.wal} == {1, 2, 3}
    assert [piece.key for piece in done.wal if piece.timeline == 3] == [f"3/{number}" for number in range(18, 30)]


def test_a_timeline_without_its_history_is_left_alone() -> None:
    newest = a_backup(0, timeline=3, at=30)
    log = WalFacts(WalListing(wal(2, 15, 16) + wal(3, 18, 19, 30), frozenset({3})), {3: []})
    done = planned(newest, log=log)
    assert not done.wal
    assert [note.split(":")[0] for note in done.notes] == [
        "All WAL of timeline 2 is kept",
        "All WAL of timeline 3 is kept",
    ]


def test_while_nobody_knows_where_the_living_timeline_came_from_every_backup_stays() -> None:
    backups = [a_backup(days) for days in range(5)]
    done = planned(*backups, log=WalFacts(WalListing(wal(2, 15, 16))))
    assert not done.gone
    assert why(done, backups[4])[1] == "where timeline 2 came from is unknown"


def _at(segment: int) -> Lsn:
    return Lsn(segment * SEGMENT + 100_000)
