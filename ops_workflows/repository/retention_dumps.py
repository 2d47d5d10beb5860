"""Which dumps stay: the same periods as for backups, with what is particular to dumps. Pure, like all of retention.

A dump may hold some of the databases only. It makes an older one needless only if that one has no database which was
still there and was left out; and of each database that is still there, the newest dump stays.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from ops_workflows.repository.periods import Policy, of_periods, why_gone


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpFacts:
    """What retention wants to know of a dump.

    Attributes:
        databases: Names of those that it holds.
        left_out: Names of those that were there and that it does not hold.
        restorable: Whether the last attempt to load it passed; None if there was none.
    """

    id: str
    finished_at: datetime
    databases: frozenset[str]
    left_out: frozenset[str] = frozenset()
    stored_bytes: int = 0
    restorable: bool | None = None


@dataclass(frozen=True, slots=True)
class DumpDecision:
    """What becomes of one dump, and why, in words."""

    dump: DumpFacts
    keep: bool
    reasons: tuple[str, ...]


def plan_dumps(
    dumps: Iterable[DumpFacts], policy: Policy, now: datetime, restoring: Collection[str] = ()
) -> tuple[DumpDecision, ...]:
    """Decide which stay; one decision for each, oldest first.

    Args:
        dumps: All of one cluster.
        policy: How many to keep.
        now: The present moment; only a dump that finished later than that makes use of it.
        restoring: Ids of those that somebody is loading.
    """
    ordered = sorted(dumps, key=lambda dump: (dump.finished_at, dump.id))
    past = [dump for dump in ordered if dump.finished_at <= now]
    faulty = {dump.id for dump in ordered if dump.restorable is False}
    reasons: dict[str, list[str]] = {dump.id: [] for dump in ordered}
    for dump_id, reason in (
        *of_periods(past, faulty, policy, _stands_for),
        *_last(past),
        *((dump.id, "finished in the future") for dump in ordered if dump.finished_at > now),
        *((dump_id, "is being restored") for dump_id in restoring),
    ):
        if dump_id in reasons:
            reasons[dump_id].append(reason)
    holders = {reason: dump_id for dump_id, why in reasons.items() for reason in why}
    return tuple(
        DumpDecision(dump, bool(why), tuple(why or [why_gone(dump, holders, policy)]))
        for dump in ordered
        for why in [reasons[dump.id]]
    )


def _stands_for(later: DumpFacts, earlier: DumpFacts) -> bool:
    return not earlier.databases & later.left_out


def _last(past: list[DumpFacts]) -> Iterator[tuple[str, str]]:
    if not past:
        return
    yield past[-1].id, "newest"
    for database in sorted(past[-1].left_out):
        if newest := [dump for dump in past if database in dump.databases][-1:]:
            yield newest[0].id, f"newest of database {database}"
    if shown := [dump for dump in past if dump.restorable][-1:]:
        yield shown[0].id, "last that was shown to be restorable"
