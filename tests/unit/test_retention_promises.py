"""Promises of retention, held against hundreds of generated years: gaps, chains, pins, failures, forks of the log."""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from ops_workflows.postgres.lsn import Lsn
from ops_workflows.repository.backup_facts import BackupFacts, ancestors
from ops_workflows.repository.retention import Policy, RetentionPlan, plan
from ops_workflows.repository.rungs import Rung
from ops_workflows.repository.wal import Branch, Piece, Range, WalListing
from ops_workflows.repository.wal_need import WalFacts

RUNGS = tuple(Rung)
SEGMENT = 16 * 2**20
BEGAN = datetime(2025, 1, 1, 2, tzinfo=UTC)
LONGEST_CHAIN = 6
FORMS = ("%Y-%m-%d", "%G-W%V", "%Y-%m")


@dataclass
class World:
    """A cluster's life, a day at a time: its log, which may fork, and the backups that were taken of it."""

    chance: random.Random
    backups: list[BackupFacts] = field(default_factory=list, repr=False)
    pieces: list[Piece] = field(default_factory=list, repr=False)
    branches: dict[int, list[Branch]] = field(default_factory=dict)
    pins: dict[str, str] = field(default_factory=dict)
    timeline: int = 1
    position: int = 40
    day: int = 0

    def live(self, likely: "Likely") -> None:
        """One more day."""
        chance = self.chance
        if chance.random() < likely.fork:
            self._fork(to_the_past=chance.random() < 0.5)
        for part in range(2):
            if chance.random() < likely.backup / (part + 1):
                self._back_up(likely, self.now + timedelta(hours=3 * part))
            self._write(chance.randint(0, 3 * SEGMENT), likely)
        self.day += 1

    def recover(self, likely: "Likely") -> None:
        """Back to a moment of this timeline's past, and on from there."""
        self._fork(to_the_past=True)
        self._write(2 * SEGMENT, likely)

    @property
    def now(self) -> datetime:
        return BEGAN + timedelta(days=self.day)

    @property
    def log(self) -> WalFacts:
        listing = WalListing(
            tuple(sorted(self.pieces, key=lambda piece: (piece.timeline, piece.start, -piece.end))),
            frozenset(self.branches),
        )
        return WalFacts(listing, self.branches)

    def plan(self, policy: Policy) -> RetentionPlan:
        return plan(self.backups, self.log, self.pins, policy, self.now)

    def apply(self, done: RetentionPlan) -> None:
        self.backups = list(done.kept)
        gone = set(done.wal)
        self.pieces = [piece for piece in self.pieces if piece not in gone]

    def _write(self, count: int, likely: "Likely") -> None:
        for number in range(self.position // SEGMENT, (self.position + count) // SEGMENT):
            if self.chance.random() >= likely.hole:
                self.pieces.append(_segment(self.timeline, number))
        self.position += count

    def _fork(self, *, to_the_past: bool) -> None:
        at = self.position
        mine = [backup for backup in self.backups if backup.timeline == self.timeline]
        if to_the_past and mine:
            at = self.chance.randint(self.chance.choice(mine).stop_lsn, self.position)
        new = max(self.branches, default=1) + 1
        self.branches[new] = [*self.branches.get(self.timeline, ()), Branch(self.timeline, Lsn(at))]
        self.timeline, self.position = new, at

    def _back_up(self, likely: "Likely", finished: datetime) -> None:
        last = self.backups[-1] if self.backups else None
        parent = None
        if last is not None and last.timeline == self.timeline and self.chance.random() < likely.incremental:
            chain = sum(1 for _ in ancestors(last, {backup.id: backup for backup in self.backups}))
            parent = last.id if chain < LONGEST_CHAIN else None
        reached = self.chance.randint(0, len(RUNGS))
        proofs = dict.fromkeys(map(str, RUNGS[:reached]), True)
        if reached < len(RUNGS) and self.chance.random() < likely.failure:
            proofs[RUNGS[reached]] = False
        start, self.position = self.position, self.position + 4000
        made = BackupFacts(
            id=f"{finished:%Y%m%dT%H%M%SZ}-{self.timeline:04x}",
            finished_at=finished,
            timeline=self.timeline,
            start_lsn=Lsn(start),
            stop_lsn=Lsn(self.position),
            parent=parent,
            proofs=proofs,
        )
        self.backups.append(made)
        if self.chance.random() < likely.pin:
            self.pins[made.id] = "by chance"


@dataclass(frozen=True)
class Likely:
    """How likely things are on a day."""

    backup: float
    incremental: float
    failure: float
    fork: float
    hole: float
    pin: float


def _segment(timeline: int, number: int) -> Piece:
    start = number * SEGMENT
    return Piece(f"{timeline}/{number:08}", timeline, Lsn(start), Lsn(start + SEGMENT), None, True)


def rarely(most: float) -> st.SearchStrategy[float]:
    return st.floats(0, most)


LIKELY = st.builds(
    Likely,
    backup=st.floats(0.2, 1),
    incremental=rarely(1),
    failure=rarely(1),
    fork=rarely(0.03),
    hole=rarely(0.05),
    pin=rarely(0.05),
)
POLICIES = st.builds(Policy, daily=st.integers(1, 40), weekly=st.integers(0, 12), monthly=st.integers(0, 14))
SEEDS = st.integers(0, 2**32)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    world, likely = World(random.Random(draw(SEEDS))), draw(LIKELY)
    for _ in range(draw(st.integers(1, 400))):
        world.live(likely)
    if draw(st.booleans()):  # recovered to a moment of the past, and not backed up since
        world.recover(likely)
    return world


def periods(backups: Iterable[BackupFacts], form: str, count: int) -> list[str]:
    """The newest so many periods that have a backup."""
    return sorted({f"{backup.finished_at:{form}}" for backup in backups}, reverse=True)[:count]


def end_of(ranges: list[Range], timeline: int, start: Lsn) -> Lsn:
    return next(
        (found.end for found in ranges if found.timeline == timeline and found.start <= start <= found.end), start
    )


def recoverable(backup: BackupFacts, log: WalFacts, ranges: list[Range]) -> Iterator[tuple[int, Lsn]]:
    """How far a backup can be taken along each timeline, by walking the log: not as the plan reckons it."""
    yield backup.timeline, end_of(ranges, backup.timeline, backup.start_lsn)
    for timeline, branches in log.branches.items():
        legs = [*branches, Branch(timeline, Lsn(2**63))]
        own = [number for number, leg in enumerate(legs) if leg.parent == backup.timeline]
        if not own or legs[own[0]].at < backup.stop_lsn or timeline == backup.timeline:
            continue
        at = backup.start_lsn
        for leg in legs[own[0] :]:
            end = end_of(ranges, leg.parent, at)
            if end < leg.at and leg.parent != timeline:
                break
            at = min(end, leg.at)
        else:
            yield timeline, at


@settings(max_examples=300, deadline=None)
@given(worlds(), POLICIES)
def test_a_plan_keeps_what_the_policy_promises(world: World, policy: Policy) -> None:
    done = world.plan(policy)
    kept = {backup.id: backup for backup in done.kept}
    known = {backup.id: backup for backup in world.backups}
    counts = (policy.daily, policy.weekly, policy.monthly)

    for form, count in zip(FORMS, counts, strict=True):
        assert set(periods(world.backups, form, count)) <= set(periods(done.kept, form, 10**6))
    for backup in kept.values():
        assert all(parent.id in kept for parent in ancestors(backup, known))
    assert set(world.pins) & set(known) <= set(kept)
    if world.backups:
        assert world.backups[-1].id in kept
        highest = max(backup.height for backup in world.backups)
        last = [backup for backup in world.backups if backup.height == highest][-1]
        assert not highest or last.id in kept
    assert all(decision.reasons for decision in done.decisions)
    assert {backup.id for backup in done.gone} | set(kept) == set(known)


@settings(max_examples=200, deadline=None)
@given(worlds(), POLICIES)
def test_every_moment_that_a_kept_backup_reaches_is_still_reached(world: World, policy: Policy) -> None:
    done = world.plan(policy)
    before = world.log
    had = {backup.id: set(recoverable(backup, before, before.listing.ranges())) for backup in done.kept}
    furthest = max((max(each) for each in _all(world.backups, before)), default=None)
    world.apply(done)
    after = world.log
    has = {backup.id: set(recoverable(backup, after, after.listing.ranges())) for backup in done.kept}
    assert has == had
    # The newest moment of all: the end of the newest timeline that any backup leads to.
    assert max((max(each) for each in _all(world.backups, after)), default=None) == furthest


def _all(backups: Iterable[BackupFacts], log: WalFacts) -> Iterator[set[tuple[int, Lsn]]]:
    ranges = log.listing.ranges()
    return (set(recoverable(backup, log, ranges)) for backup in backups)


@settings(max_examples=200, deadline=None)
@given(worlds(), POLICIES)
def test_a_plan_that_was_carried_out_leaves_nothing_to_do(world: World, policy: Policy) -> None:
    world.apply(world.plan(policy))
    again = world.plan(policy)
    assert not again.gone
    assert not again.wal


@settings(max_examples=200, deadline=None)
@given(worlds(), POLICIES, st.data())
def test_broken_off_anywhere_there_is_no_child_without_its_parent_and_the_end_is_the_same(
    world: World, policy: Policy, data: st.DataObject
) -> None:
    done = world.plan(policy)
    whole = (
        {backup.id for backup in done.kept},
        {piece.key for piece in world.pieces} - {piece.key for piece in done.wal},
    )
    deletions = len(done.gone) + len(done.wal)
    stop = data.draw(st.integers(0, deletions))
    gone = {backup.id for backup in done.gone[:stop]}
    pieces = set(done.wal[: max(0, stop - len(done.gone))])
    known = {backup.id for backup in world.backups}
    world.backups = [backup for backup in world.backups if backup.id not in gone]
    world.pieces = [piece for piece in world.pieces if piece not in pieces]
    left = {backup.id for backup in world.backups}
    assert all(backup.parent is None or backup.parent in left or backup.parent not in known for backup in world.backups)
    again = world.plan(policy)
    assert (
        {backup.id for backup in again.kept},
        {piece.key for piece in world.pieces} - {piece.key for piece in again.wal},
    ) == whole


@settings(max_examples=100, deadline=None)
@given(worlds(), POLICIES, st.integers(1, 5), st.integers(1, 4000))
def test_backups_from_the_future_push_nothing_out(world: World, policy: Policy, count: int, days: int) -> None:
    kept = {backup.id for backup in world.plan(policy).kept}
    for number, backup in enumerate(world.backups[-count:]):
        finished = world.now + timedelta(days=days, hours=number)
        world.backups.append(replace(backup, id=f"ahead-{number}", finished_at=finished))
    assert kept <= {backup.id for backup in world.plan(policy).kept}


@settings(max_examples=8, deadline=None)
@given(SEEDS, LIKELY, st.builds(Policy, daily=st.integers(1, 30), weekly=st.integers(0, 8), monthly=st.integers(0, 12)))
def test_every_day_of_a_year_the_promise_holds_and_the_bucket_stays_small(
    seed: int, likely: Likely, policy: Policy
) -> None:
    world = World(random.Random(seed))
    ever: dict[str, BackupFacts] = {}
    counts = (policy.daily, policy.weekly, policy.monthly)
    most_backups = sum(counts) + 4  # newest, highest rung, and at most two on the living timeline
    for _ in range(400):
        world.live(likely)
        ever |= {backup.id: backup for backup in world.backups}
        world.apply(world.plan(policy))
        held = {backup.id: backup for backup in world.backups}
        # A day of no backup is no day of the promise; a day that had one still has one, as if nothing had been let go.
        for form, count in zip(FORMS, counts, strict=True):
            assert set(periods(ever.values(), form, count)) <= set(periods(held.values(), form, 10**6))
        chosen = [backup for backup in held.values() if backup.id not in world.pins]
        assert len(chosen) <= (most_backups + len(world.pins)) * (LONGEST_CHAIN + 1)
        if not likely.incremental:
            assert len(chosen) <= most_backups
        assert all(link.parent is None or link.parent in held for link in held.values())
