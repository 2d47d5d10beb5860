"""What is copied to a second repository, in which order, and what is not: decided from two listings."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_workflows.postgres.lsn import Lsn
from ops_workflows.repository.backup import Backup
from ops_workflows.repository.holdings import Holdings
from ops_workflows.repository.mirror import MirrorPlan, part_bytes, plan_mirror
from ops_workflows.repository.periods import Policy
from ops_workflows.repository.wal import history_key, segment_key, tail_key
from tests.support.records import archive, backup

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
SEGMENT = 16 * 1024 * 1024
MANY = Policy(30, 8, 12)


def a_backup(days_ago: int, parent: Backup | None = None) -> Backup:
    finished = NOW - timedelta(days=days_ago)
    at = (1000 - 10 * days_ago) * SEGMENT
    return backup(
        id=f"{finished:%Y%m%dT%H%M%SZ}-0000",
        parent=parent and parent.id,
        finished_at=finished,
        start_lsn=Lsn(at + 40),
        stop_lsn=Lsn(at + 400),
    )


def holding(*backups: Backup, wal: tuple[str, ...] = (), **more: Any) -> Holdings:
    """A repository with these backups, whole, and these names below `wal/`."""
    objects = {f"backups/{each.id}/{one.name}": one.size for each in backups for one in each.objects}
    objects |= {f"backups/{each.id}/backup.json": 5 for each in backups}
    objects |= {f"wal/{name}": 3 for name in wal} | more.pop("objects", {})
    return Holdings(objects, backups, **more)


def segment(number: int) -> str:
    return segment_key(1, number * SEGMENT, SEGMENT)


def applied(plan: MirrorPlan, source: Holdings, mirror: Holdings) -> Holdings:
    """What the second one holds once it was all copied."""
    objects = dict(mirror.objects)
    for whole in plan.wholes:
        objects |= {name: size for name, size in source.objects.items() if name.startswith(whole.folder)}
    for copy in (*plan.pins, *plan.wal, *plan.proofs):
        objects[copy.name] = source.objects[copy.name]
    for name in plan.superseded:
        del objects[name]
    ids = {whole.id for whole in plan.wholes}
    backups = {each.id: each for each in (*mirror.backups, *(one for one in source.backups if one.id in ids))}
    return replace(mirror, objects=objects, backups=tuple(backups.values()), pins={**mirror.pins, **source.pins})


def test_a_parent_comes_before_its_child_whatever_the_clocks_say() -> None:
    full = a_backup(3)
    child = a_backup(9, full)
    plan = plan_mirror(holding(child, full), holding(), MANY, NOW)
    assert [whole.id for whole in plan.wholes] == [full.id, child.id]
    assert plan.wholes[1].parent == f"backups/{full.id}/backup.json"


def test_a_chain_that_is_broken_is_said_and_not_copied() -> None:
    lost = a_backup(3)
    child, good = a_backup(2, lost), a_backup(1)
    plan = plan_mirror(holding(child, good), holding(), MANY, NOW)
    assert [whole.id for whole in plan.wholes] == [good.id]
    assert plan.broken == (child.id,)
    # With the parent in the second repository, it is whole there.
    assert len(plan_mirror(holding(child), holding(lost), MANY, NOW).wholes) == 1


def test_what_is_there_is_passed_over_and_what_is_cut_short_is_not() -> None:
    one = a_backup(1)
    assert plan_mirror(holding(one), holding(one), MANY, NOW).is_empty
    cut = holding(one, objects={f"backups/{one.id}/base.tar.zst": 9})
    assert [whole.id for whole in plan_mirror(holding(one), cut, MANY, NOW).wholes] == [one.id]
    no_record = holding(one)
    objects = {name: size for name, size in no_record.objects.items() if not name.endswith("backup.json")}
    assert plan_mirror(no_record, Holdings(objects), MANY, NOW).wholes


def test_a_pin_is_copied_and_never_taken_away() -> None:
    one = a_backup(1)
    name = f"backups/{one.id}/pin.json"
    pinned = holding(one, objects={name: 7}, pins={one.id: "audit"})
    assert [copy.name for copy in plan_mirror(pinned, holding(one), MANY, NOW).pins] == [name]
    assert plan_mirror(pinned, holding(), MANY, NOW).wholes[0].pin == name
    assert plan_mirror(pinned, pinned, MANY, NOW).is_empty
    assert plan_mirror(holding(one), pinned, MANY, NOW).is_empty


def test_histories_come_first_then_the_oldest_wal() -> None:
    names = (segment(992), segment(991), history_key(2), segment(990))
    plan = plan_mirror(holding(a_backup(1), wal=names), holding(), MANY, NOW)
    assert [copy.name.removeprefix("wal/") for copy in plan.wal] == [history_key(2), *map(segment, (990, 991, 992))]


def test_tails_go_when_the_segment_is_there() -> None:
    tails = [tail_key(1, 992 * SEGMENT + start, 992 * SEGMENT + start + 10, SEGMENT) for start in (0, 10)]
    one = a_backup(1)
    plan = plan_mirror(holding(one, wal=(segment(992),)), holding(one, wal=tuple(tails)), MANY, NOW)
    assert [copy.name for copy in plan.wal] == [f"wal/{segment(992)}"]
    assert plan.superseded == tuple(f"wal/{name}" for name in tails)
    late = plan_mirror(holding(one, wal=tuple(tails)), holding(one, wal=(segment(992),)), MANY, NOW)
    assert late.is_empty


def test_what_would_be_let_go_at_once_is_not_copied() -> None:
    old, new = a_backup(3), a_backup(1)
    source = holding(old, new, wal=(segment(970), segment(990)), objects={f"proofs/{old.id}/x.json": 1})
    plan = plan_mirror(source, holding(), Policy(1, 0, 0), NOW)
    assert [whole.id for whole in plan.wholes] == [new.id]
    assert [copy.name for copy in plan.wal] == [f"wal/{segment(990)}"]
    assert not plan.proofs


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.builds(Policy, daily=st.integers(1, 9), weekly=st.integers(0, 4), monthly=st.just(0)))
def test_once_copied_there_is_nothing_to_copy_and_nothing_that_was_copied_goes(seed: int, policy: Policy) -> None:
    chance = random.Random(seed)
    made: list[Backup] = []
    for days in range(60, 0, -1):
        if chance.random() < 0.7:
            made.append(a_backup(days, chance.choice([None, made[-1] if made else None])))
    wal = tuple(segment(number) for number in range(400, 1000) if chance.random() < 0.9)
    known = {each.id: each for each in made}
    chosen = [each for each in made if chance.random() < 0.3]
    for each in chosen:  # nobody has a child without its parent
        if each.parent and known[each.parent] not in chosen:
            chosen.append(known[each.parent])
    pins = {each.id: "" for each in made if chance.random() < 0.05}
    source, mirror = holding(*made, wal=wal, pins=pins), holding(*chosen, wal=wal[::3])
    plan = plan_mirror(source, mirror, policy, NOW)
    seen = {each.id for each in chosen}
    for whole in plan.wholes:
        seen.add(whole.id)
        parent = known[whole.id].parent
        assert parent is None or parent in seen
    there = applied(plan, source, mirror)
    assert plan_mirror(source, there, policy, NOW).is_empty
    kept = there.plan(policy, NOW)
    assert not {backup.id for backup in kept.gone} & {whole.id for whole in plan.wholes}
    assert not {piece.key for piece in kept.wal} & {copy.name for copy in plan.wal}


@pytest.mark.parametrize("base", [8, 9, 13, 100])
@pytest.mark.parametrize("parts", [12, 100, 7000])
def test_the_copy_is_sent_in_the_parts_of_the_original(base: int, parts: int) -> None:
    mib = 1024**2
    for size in (base * mib * parts, base * mib * (parts - 1) + base * mib // 2 + 1):
        found = part_bytes(size, parts, 8 * mib)
        assert -(-size // found) == parts
        assert found == base * mib or parts <= base
    assert part_bytes(0, 1, 8 * mib) == 8 * mib
    assert archive("x").checksum == "c-1"
