"""Full or incremental: decided from facts before anything is begun, with the reason in words."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from ops_workflows.settings import Weekday

if TYPE_CHECKING:  # every process of Dagster imports this module, and what is behind those two is slow to import
    from ops_workflows.backup.preflight import Facts
    from ops_workflows.repository.backup import Backup

_OLDEST = 17  # https://www.postgresql.org/docs/17/release-17.html: incremental backups came with it
_WEEKDAYS: tuple[Weekday, ...] = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


class Kind(StrEnum):
    """What is asked for."""

    AUTO = "auto"
    FULL = "full"
    INCREMENTAL = "incremental"


@dataclass(frozen=True, slots=True)
class Choice:
    """What is done: incremental to `parent`, or full where that is None; and why."""

    parent: "Backup | None"
    reason: str


def choose(
    kind: Kind,
    now: datetime,
    facts: "Facts",
    timeline: int,
    backups: "Sequence[Backup]",
    *,
    full_weekday: Weekday,
    longest_chain: int,
    damaged: Collection[str] = (),
    failed: Mapping[str, str] | None = None,
) -> Choice:
    """Decide.

    Args:
        kind: What is asked for; `incremental` is a wish that the facts may not allow.
        now: UTC.
        facts: About the server.
        timeline: That the server is on.
        backups: All whose record can be read, oldest first.
        full_weekday: On which day `auto` means a full one.
        longest_chain: Most backups that a restore may have to put together.
        damaged: Ids of those whose record cannot be read.
        failed: Which rung of proof was failed, by the id of its backup.
    """
    parent = next((backup for backup in reversed(backups) if backup.timeline == timeline), None)
    lost = max(damaged, default="")  # ids sort by time
    reasons = [
        (kind is Kind.FULL, "a full backup was asked for"),
        (facts.server_version < _OLDEST * 10_000, f"incremental backups need PostgreSQL {_OLDEST} or later"),
        (not facts.summarize_wal, "summarize_wal is off on the server, so it does not know what has changed"),
        (lost > (parent.id if parent else ""), f"the record of backup {lost}, the one to build on, cannot be read"),
        (parent is None, f"there is no backup of timeline {timeline} yet"),
    ]
    why_full = next((reason for applies, reason in reasons if applies), None)
    if why_full is not None or parent is None:
        return Choice(None, why_full or "")
    chain = _chain(parent, backups)
    bad = next((link.id for link in chain if link.id in (failed or {})), None)
    full_today = chain[0].started_at.date() == now.date()
    reasons = [
        (
            chain[0].parent in damaged,
            f"the record of backup {chain[0].parent}, which {parent.id} builds on, cannot be read",
        ),
        (chain[0].parent is not None, f"a backup that {parent.id} builds on is gone"),
        (
            bad is not None,
            f"backup {bad}, which it would build on, was found not to be {(failed or {}).get(bad or '')}",
        ),
        (len(chain) >= longest_chain, f"a restore from {parent.id} puts {len(chain)} backups together already"),
        (
            kind is Kind.AUTO and _WEEKDAYS[now.weekday()] == full_weekday and not full_today,
            f"it is {full_weekday}, the day of the full backup",
        ),
    ]
    why_full = next((reason for applies, reason in reasons if applies), None)
    return Choice(None, why_full) if why_full else Choice(parent, f"incremental to {parent.id}")


def _chain(backup: "Backup", backups: "Sequence[Backup]") -> "list[Backup]":
    by_id = {known.id: known for known in backups}
    links = [backup]
    while (parent := links[0].parent) in by_id and parent is not None:
        links.insert(0, by_id[parent])
    return links
