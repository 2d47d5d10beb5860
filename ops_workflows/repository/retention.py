"""What to keep and what to let go: a pure function from what the bucket holds to a plan, with a reason for each backup.

Of the newest so many days, weeks and months that have a backup at all, each keeps one, the last that no proof speaks
against. A clock that jumped ahead changes nothing, because backups from the future are kept and not counted.

Whatever the numbers say, these stay: the newest backup, the last that reached the highest rung of proof, what is pinned
or being restored, the parents of what stays, and the backup from which the living timeline's log is replayed.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime

from ops_workflows.repository.backup_facts import BackupFacts, ancestors, is_faulty
from ops_workflows.repository.periods import Policy, of_periods, why_gone
from ops_workflows.repository.retention_dumps import DumpDecision, DumpFacts, plan_dumps
from ops_workflows.repository.rungs import Rung
from ops_workflows.repository.wal import Piece
from ops_workflows.repository.wal_need import WalFacts


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one backup, and why, in words."""

    backup: BackupFacts
    keep: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RetentionPlan:
    """What becomes of everything.

    Attributes:
        decisions: One for each backup, oldest first.
        wal: Pieces to delete, the oldest of each timeline first.
        wal_bytes: Their size in the bucket.
        notes: What a person should know besides, a sentence each.
        dumps: One decision for each dump, oldest first.
    """

    decisions: tuple[Decision, ...]
    wal: tuple[Piece, ...]
    wal_bytes: int
    notes: tuple[str, ...]
    dumps: tuple[DumpDecision, ...] = ()

    @property
    def kept(self) -> tuple[BackupFacts, ...]:
        """The backups that stay, oldest first."""
        return tuple(decision.backup for decision in self.decisions if decision.keep)

    @property
    def gone(self) -> tuple[BackupFacts, ...]:
        """The backups to delete, each before its parent: at no moment is there a backup whose parent is not."""
        going = [decision.backup for decision in self.decisions if not decision.keep]
        known = {backup.id: backup for backup in going}
        return tuple(sorted(going, key=lambda backup: -sum(1 for _ in ancestors(backup, known))))

    @property
    def gone_dumps(self) -> tuple[DumpFacts, ...]:
        """The dumps to delete, oldest first."""
        return tuple(decision.dump for decision in self.dumps if not decision.keep)

    @property
    def freed_bytes(self) -> int:
        """Bytes of the bucket that carrying it out frees."""
        return (
            self.wal_bytes
            + sum(backup.stored_bytes for backup in self.gone)
            + sum(dump.stored_bytes for dump in self.gone_dumps)
        )


def plan(
    backups: Iterable[BackupFacts],
    wal: WalFacts,
    pins: Mapping[str, str],
    policy: Policy,
    now: datetime,
    *,
    dumps: Iterable[DumpFacts] = (),
    restoring: Collection[str] = (),
) -> RetentionPlan:
    """Decide what stays.

    Args:
        backups: All of one cluster.
        wal: Its log.
        pins: The reason of each pin, by the id of its backup.
        policy: How many to keep.
        now: The present moment; only what finished later than that makes use of it.
        dumps: All of the same cluster.
        restoring: Ids of the backups and dumps that somebody is restoring.
    """
    ordered = sorted(backups, key=lambda backup: (backup.finished_at, backup.id))
    known = {backup.id: backup for backup in ordered}
    faulty = {backup.id for backup in ordered if is_faulty(backup, known)}
    past = [backup for backup in ordered if backup.finished_at <= now]
    living = max((*(backup.timeline for backup in ordered), *wal.timelines), default=1)

    reasons: dict[str, list[str]] = {backup.id: [] for backup in ordered}
    for backup_id, reason in (
        *of_periods(past, faulty, policy),
        *_last(past),
        *_on_the_living_timeline(past, faulty, wal, living),
        *((backup.id, "finished in the future") for backup in ordered if backup.finished_at > now),
        *((backup_id, f"pinned: {reason}" if reason else "pinned") for backup_id, reason in pins.items()),
        *((backup_id, "is being restored") for backup_id in restoring),
    ):
        if backup_id in reasons:
            reasons[backup_id].append(reason)
    for child in [backup for backup in reversed(ordered) if reasons[backup.id]]:
        for parent in ancestors(child, known):
            if not reasons[parent.id]:
                reasons[parent.id].append(f"parent of {child.id}")

    holders = {reason: backup_id for backup_id, why in reasons.items() for reason in why}
    decisions = tuple(
        Decision(backup, bool(why), tuple(why or [why_gone(backup, holders, policy)]))
        for backup in ordered
        for why in [reasons[backup.id]]
    )
    kept = [decision.backup for decision in decisions if decision.keep]
    unneeded = wal.unneeded(((backup.timeline, backup.start_lsn) for backup in kept), living)
    freed = sum(wal.sizes.get(piece.key, 0) for piece in unneeded)
    notes = tuple(_notes(ordered, known, wal, now))
    return RetentionPlan(decisions, unneeded, freed, notes, plan_dumps(dumps, policy, now, restoring))


def _last(past: list[BackupFacts]) -> Iterator[tuple[str, str]]:
    if past:
        yield past[-1].id, "newest"
        highest = max(reversed(past), key=lambda backup: backup.height)
        if highest.height:
            yield highest.id, f"last backup that reached {tuple(Rung)[highest.height - 1]}"


def _on_the_living_timeline(
    past: list[BackupFacts], faulty: AbstractSet[str], wal: WalFacts, living: int
) -> Iterator[tuple[str, str]]:
    """By place and not by time, so that a clock that went back does not hide what is newest.

    After a promotion or a recovery in place, the newest backup by time may lie on a branch that was left behind; until
    the next backup, the log of the living timeline can only be replayed from one before the fork.
    """
    path = sorted(
        (backup for backup in past if wal.leads(backup.timeline, backup.stop_lsn, living)),
        key=lambda backup: (backup.timeline, backup.stop_lsn),
    )
    if not path and not wal.knows(living):
        yield from ((backup.id, f"where timeline {living} came from is unknown") for backup in past)
    good = [backup for backup in path if backup.id not in faulty]
    for backup_id in dict.fromkeys(backup.id for backup in path[-1:] + good[-1:]):
        yield backup_id, f"furthest along timeline {living}"


def _notes(ordered: list[BackupFacts], known: Mapping[str, BackupFacts], wal: WalFacts, now: datetime) -> Iterator[str]:
    for backup in ordered:
        if backup.finished_at > now:
            yield f"Backup {backup.id} finished in the future: it is kept and not counted. Are all clocks right?"
        if backup.parent is not None and backup.parent not in known:
            yield f"Backup {backup.id} cannot be restored: its parent {backup.parent} is not in the bucket."
    for timeline in sorted(wal.timelines):
        if not wal.knows(timeline):
            yield f"All WAL of timeline {timeline} is kept: its history file is not in the bucket or cannot be read."
