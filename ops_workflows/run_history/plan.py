"""Which of Dagster's old runs go and which stay, and why: a pure function from facts about them.

A run stays while it is young; while it is the newest of an asset or of a check; for a while, the newest of a partition,
for Dagster takes a partition to be materialized because of that event; while something open builds on it; while a run
that is there tries it again, for Dagster does not find the group of a run without its first; and as the evidence of a
backup that is kept.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from ops_workflows.wording import counted


class Reason(StrEnum):
    """Why a run stays."""

    YOUNG = "young"
    NEWEST = "newest"
    PARTITION = "partition"
    OPEN = "open"
    RETRIED = "retried"
    EVIDENCE = "evidence"
    UNVERIFIED = "unverified"


@dataclass(frozen=True, slots=True)
class Policy:
    """How old a run has to be.

    Attributes:
        succeeded: Before one that succeeded goes.
        failed: Before one that failed or was cancelled goes.
        partition: Before one goes although it is the newest of a partition.
    """

    succeeded: timedelta
    failed: timedelta
    partition: timedelta

    @property
    def shortest(self) -> timedelta:
        """The age from which on a run is to be looked at."""
        return min(self.succeeded, self.failed)


@dataclass(frozen=True, slots=True)
class Named:
    """A backup or dump that a run names in what it says of an asset or a check.

    Attributes:
        id: Its own.
        system: The system identifier of its cluster; None where that is not said.
    """

    id: str
    system: str | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """The backups and dumps of which the repositories hold anything.

    Attributes:
        ids: Theirs, by the system identifier of their cluster.
        unknown: Why that may not be all of them; empty where it is.
    """

    ids: Mapping[str, AbstractSet[str]]
    unknown: str = ""

    def has(self, named: Named) -> bool | None:
        """Whether one is held; None where nobody can say."""
        systems = [named.system] if named.system else list(self.ids)
        if any(named.id in self.ids.get(system, ()) for system in systems):
            return True
        # A cluster that no repository knows is more likely looked for in the wrong place than deleted to the last byte.
        return None if self.unknown or not any(system in self.ids for system in systems) else False


@dataclass(frozen=True, slots=True)
class RunFacts:
    """One run that has ended.

    Attributes:
        run_id: Its id.
        job: The name of its job.
        succeeded: False where it failed or was cancelled.
        ended: When, UTC.
        newest_of: Assets and checks that it says the newest of.
        newest_partition_of: Assets and checks that it says the newest of some partition of.
        opened_by: What is open and builds on it; empty where nothing does.
        is_retried: Whether a run that is there tries it again, itself or by way of others.
        names: The backups that it names; need not be known of a run that stays anyhow.
    """

    run_id: str
    job: str
    succeeded: bool
    ended: datetime
    newest_of: frozenset[str] = frozenset()
    newest_partition_of: frozenset[str] = frozenset()
    opened_by: str = ""
    is_retried: bool = False
    names: frozenset[Named] = frozenset()


@dataclass(frozen=True, slots=True)
class HistoryPlan:
    """What becomes of the runs.

    Attributes:
        gone: Those to remove, in the order in which they were made.
        kept: How many of those that were looked at stay, by reason.
        more: Whether there are more to remove, which are left to the next time.
        notes: What a person should know besides, a sentence each.
    """

    gone: tuple[RunFacts, ...]
    kept: Mapping[Reason, int] = field(default_factory=dict)
    more: bool = False
    notes: tuple[str, ...] = ()


def stays(run: RunFacts, policy: Policy, now: datetime) -> Reason | None:
    """Why a run stays whatever backups it names; None where that is for them to say."""
    age = now - run.ended
    if age < (policy.succeeded if run.succeeded else policy.failed):
        return Reason.YOUNG
    if run.newest_of:
        return Reason.NEWEST
    if run.opened_by:
        return Reason.OPEN
    if run.is_retried:
        return Reason.RETRIED
    if run.newest_partition_of and age < policy.partition:
        return Reason.PARTITION
    return None


def decide(run: RunFacts, policy: Policy, held: Held, now: datetime) -> Reason | None:
    """Why a run stays; None where it goes."""
    found = {held.has(named) for named in run.names}
    evidence = Reason.EVIDENCE if True in found else Reason.UNVERIFIED if None in found else None
    return stays(run, policy, now) or evidence


def plan(runs: Iterable[RunFacts], policy: Policy, held: Held, now: datetime, *, most: int) -> HistoryPlan:
    """Decide what becomes of runs.

    Args:
        runs: Those that have ended, in the order in which they were made; no more of them are asked for than needed.
        policy: How old they have to be.
        held: The backups that are kept.
        now: The present moment, UTC.
        most: How many may go at once.
    """
    gone, kept, more = list[RunFacts](), Counter[Reason](), False
    for run in runs:
        if (reason := decide(run, policy, held, now)) is not None:
            kept[reason] += 1
        elif len(gone) == most:
            more = True
            break
        else:
            gone.append(run)
    return HistoryPlan(tuple(gone), dict(kept), more, tuple(_notes(kept, held)))


def _notes(kept: Mapping[Reason, int], held: Held) -> list[str]:
    if not (unverified := kept.get(Reason.UNVERIFIED, 0)):
        return []
    why = held.unknown or "No repository knows their cluster: are OPS_S3_BUCKET, OPS_S3_PREFIX and OPS_SYSTEM right?"
    return [
        f"It could not be verified whether backups named by {counted(unverified, 'run')} are kept, so these stay. {why}"
    ]
