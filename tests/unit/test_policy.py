"""Full or incremental, and why."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ops_workflows.backup.policy import Choice, Kind, choose
from ops_workflows.backup.preflight import Facts
from ops_workflows.repository.backup import Backup
from tests.support.records import backup

FACTS = Facts(
    server_version=180006,
    role="ops_backup",
    may_replicate=True,
    may_read=True,
    wal_level="replica",
    max_wal_senders=10,
    wal_senders=1,
    in_recovery=False,
    data_checksums=True,
    summarize_wal=True,
    wal_segment_bytes=16 * 1024 * 1024,
    superuser="postgres",
)
SUNDAY = datetime(2026, 2, 1, 2, 0, tzinfo=UTC)


def taken(number: int, parent: int | None = None, **more: Any) -> Backup:
    """The backup of Sunday plus so many days."""
    began = SUNDAY + timedelta(days=number)
    return backup(
        id=f"{began:%Y%m%dT%H%M%SZ}-0000",
        parent=None if parent is None else taken(parent).id,
        started_at=began,
        finished_at=began + timedelta(minutes=1),
        **more,
    )


def decide(
    now: datetime,
    backups: list[Backup],
    kind: Kind = Kind.AUTO,
    timeline: int = 1,
    *,
    damaged: Sequence[str] = (),
    failed: dict[str, str] | None = None,
    **more: Any,
) -> Choice:
    facts = replace(FACTS, **more)
    bounds: dict[str, Any] = {"full_weekday": "sunday", "longest_chain": 7}
    return choose(kind, now, facts, timeline, backups, damaged=damaged, failed=failed, **bounds)


WEEK = [taken(0), *(taken(day, day - 1) for day in range(1, 6))]


@pytest.mark.parametrize("day", range(1, 7))
def test_incremental_on_weekdays(day: int) -> None:
    made = decide(SUNDAY + timedelta(days=day), WEEK[:day])
    assert made.parent == WEEK[day - 1]
    assert made.reason == f"incremental to {WEEK[day - 1].id}"


def test_full_on_sunday() -> None:
    made = decide(SUNDAY + timedelta(days=7), WEEK)
    assert made == Choice(None, "it is sunday, the day of the full backup")


def test_one_full_backup_on_a_sunday_is_enough() -> None:
    assert decide(SUNDAY + timedelta(hours=3), [taken(0)]).parent == taken(0)


def test_sunday_is_a_day_of_utc() -> None:
    late = SUNDAY.replace(hour=23, minute=59) + timedelta(days=6)
    assert decide(late, WEEK).parent is not None
    assert decide(late + timedelta(minutes=1), WEEK).parent is None


def test_asked_for() -> None:
    assert decide(SUNDAY + timedelta(days=2), WEEK, Kind.FULL).parent is None
    assert decide(SUNDAY + timedelta(days=7), WEEK, Kind.INCREMENTAL).parent == WEEK[-1]


def test_a_chain_that_is_long_enough() -> None:
    chain = [taken(0), *(taken(day, day - 1) for day in range(1, 7))]
    made = decide(SUNDAY + timedelta(days=6, hours=5), chain)
    assert made == Choice(None, f"a restore from {chain[-1].id} puts 7 backups together already")


@pytest.mark.parametrize("kind", [Kind.AUTO, Kind.INCREMENTAL])
def test_what_cannot_be_incremental_says_why(kind: Kind) -> None:
    monday = SUNDAY + timedelta(days=1)
    full = [taken(0)]
    assert "need PostgreSQL 17 or later" in decide(monday, full, kind, server_version=160004).reason
    assert "summarize_wal is off" in decide(monday, full, kind, summarize_wal=False).reason
    assert decide(monday, full, kind, timeline=2).reason == "there is no backup of timeline 2 yet"
    assert decide(monday, [], kind).reason == "there is no backup of timeline 1 yet"
    orphan = [taken(1, 0)]
    assert decide(monday, orphan, kind).reason == f"a backup that {orphan[0].id} builds on is gone"


def test_the_parent_is_of_the_servers_timeline() -> None:
    """After a promotion and back: the newest is of another one."""
    mixed = [taken(0), taken(1, timeline=2)]
    assert decide(SUNDAY + timedelta(days=2), mixed, timeline=2).parent == mixed[1]
    assert decide(SUNDAY + timedelta(days=2), mixed, timeline=1).parent == mixed[0]


@pytest.mark.parametrize("kind", [Kind.AUTO, Kind.INCREMENTAL])
@pytest.mark.parametrize("lost", range(6))
def test_full_where_the_record_of_any_link_is_damaged(kind: Kind, lost: int) -> None:
    readable = [each for each in WEEK if each is not WEEK[lost]]
    made = decide(SUNDAY + timedelta(days=6), readable, kind, damaged=[WEEK[lost].id])
    which = f"which {WEEK[-1].id} builds on" if lost < 5 else "the one to build on"
    assert made == Choice(None, f"the record of backup {WEEK[lost].id}, {which}, cannot be read")
    only = decide(SUNDAY + timedelta(days=6), [], kind, damaged=[WEEK[lost].id])
    assert only == Choice(None, f"the record of backup {WEEK[lost].id}, the one to build on, cannot be read")


def test_a_damaged_record_that_nothing_builds_on_does_not_matter() -> None:
    before = taken(-1).id
    assert decide(SUNDAY + timedelta(days=6), WEEK, damaged=[before]).parent == WEEK[-1]


@pytest.mark.parametrize("link", range(4))
def test_nothing_is_built_on_what_was_found_faulty(link: int) -> None:
    made = decide(SUNDAY + timedelta(days=4), WEEK[:4], failed={WEEK[link].id: "checksummed"})
    assert made == Choice(None, f"backup {WEEK[link].id}, which it would build on, was found not to be checksummed")


def test_a_faulty_backup_that_nothing_builds_on_is_none_of_its_business() -> None:
    old = taken(-9)
    assert decide(SUNDAY + timedelta(days=4), [old, *WEEK[:4]], failed={old.id: "sound"}).parent == WEEK[3]
