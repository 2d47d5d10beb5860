"""Which months of the query log to make, and which to drop: decided from what is known of each, and nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from ops_workflows.analytics.months import LogMonths, Month, Partition
from ops_workflows.wording import counted

MOST_MOVED = 10_000
"""Rows of a month that are moved out of the default partition; everybody waits for a fraction of a second meanwhile."""


class Verdict(StrEnum):
    """What is to become of a month."""

    KEEP = "keep"
    WAIT = "wait"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was found of a month that is older than the limit.

    Attributes:
        rows: That the log has of it.
        differing: Hours and days whose statistics do not agree with the log, in words.
        backup_id: The newest backup that counts as proved; empty, if none does.
        held: Rows of it that are certainly in that backup, as they are now; None, where nobody can say.
        obstacles: Why its table could not be dropped, as half sentences.
    """

    rows: int
    differing: Sequence[str]
    backup_id: str
    held: int | None
    obstacles: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """A month, and what is to become of it.

    Attributes:
        partition: Which.
        verdict: What.
        reasons: Why, as half sentences.
        rows: That it has; where it is not older than the limit, as the planner believes.
        backup_id: What its going rests on; empty where it does not go.
    """

    partition: Partition
    verdict: Verdict
    reasons: Sequence[str]
    rows: int
    backup_id: str = ""


@dataclass(frozen=True, slots=True)
class MonthsPlan:
    """All that is to be done to the log's months.

    Attributes:
        to_make: Months without a partition that ought to have one, the earliest first.
        decisions: Of each month that has one, in the order of time.
        notes: What else deserves a sentence.
    """

    to_make: Sequence[Month]
    decisions: Sequence[Decision]
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def to_drop(self) -> list[Decision]:
        """What is to be dropped, the oldest first."""
        return [each for each in self.decisions if each.verdict is Verdict.DROP]

    @property
    def waiting(self) -> list[Decision]:
        """What is older than the limit, and has to stay."""
        return [each for each in self.decisions if each.verdict is Verdict.WAIT]


def missing(log: LogMonths, ahead: int) -> list[Month]:
    """Months that ought to have a partition: this one, so many after it, and those whose rows have none."""
    this = Month.around(log.now)
    wanted = {this.later(number) for number in range(ahead + 1)}
    wanted |= {month for month in log.outside if month <= this.later(ahead)}
    # Where rows cannot be moved out of the default partition, their month cannot be made either.
    wanted -= {month for month, rows in log.outside.items() if rows > MOST_MOVED or log.held}
    return sorted(wanted - {each.month for each in log.partitions})


def past_limit(log: LogMonths, keep_months: int | None) -> list[Partition]:
    """Months of which every row is older than so many months; none without a limit."""
    if keep_months is None:
        return []
    first_kept = Month.around(log.now).later(-keep_months)
    return [each for each in log.partitions if each.month < first_kept]


def decide(
    log: LogMonths, *, ahead: int, keep_months: int | None, evidence: Mapping[Month, Evidence], most: int
) -> MonthsPlan:
    """Plan.

    Args:
        log: As it is.
        ahead: For how many months after this one there have to be partitions.
        keep_months: How many whole months before this one are kept; None keeps all.
        evidence: Of each month that is past that limit.
        most: How many months may go at once, the oldest first.
    """
    old = {each.month for each in past_limit(log, keep_months)}
    decisions: list[Decision] = []
    room = most
    for each in log.partitions:
        if each.month not in old:
            why = "every month is kept" if keep_months is None else f"younger than {counted(keep_months, 'month')}"
            decisions.append(Decision(each, Verdict.KEEP, [why], each.about_rows))
            continue
        found = evidence[each.month]
        if lacking := _lacking(found):
            decisions.append(Decision(each, Verdict.WAIT, lacking, found.rows))
        elif not room:
            decisions.append(
                Decision(each, Verdict.WAIT, [f"no more than {counted(most, 'month')} at once"], found.rows)
            )
        else:
            room -= 1
            why = f"its statistics agree, and backup {found.backup_id} holds all of its rows"
            decisions.append(Decision(each, Verdict.DROP, [why], found.rows, found.backup_id))
    return MonthsPlan(missing(log, ahead), decisions, _notes(log, ahead))


def _lacking(found: Evidence) -> list[str]:
    """Why a month has to stay, though it is old enough to go."""
    lacking = list(found.obstacles)
    if found.differing:
        lacking.append(
            f"{len(found.differing):,} of its hours and days are not in the statistics as the log has them "
            f"({found.differing[0]}): see `rollup_query_analytics`"
        )
    if not found.backup_id:
        lacking.append("no backup counts as proved: `ops backup`, then `ops verify --rung booted`")
    elif found.held is None:
        lacking.append(
            f"nobody can say whether the newest proved backup, {found.backup_id}, has its rows: wait for the next"
        )
    elif found.held != found.rows:
        lacking.append(
            f"{found.held:,} of its {found.rows:,} rows are as they are now in the newest proved backup, "
            f"{found.backup_id}, for certain: wait for the next"
        )
    return lacking


def _notes(log: LogMonths, ahead: int) -> list[str]:
    notes = [f"{name} is not just one month, and is left alone." for name in log.others]
    notes += [
        f"The dropping of {each.month} was interrupted: {each.name} stands beside the log, and will be put back first."
        for each in log.left_over
        if each.exists and not each.attached
    ]
    notes += [
        f"The detaching of {each.name} was interrupted, and will be ended first."
        for each in log.partitions
        if each.pending
    ]
    notes += [
        f"{rows:,} rows of {month} lie in {log.default}, too many to move while the application waits: "
        f"move them in small batches into a table, and attach that as {month.partition}."
        for month, rows in log.outside.items()
        if rows > MOST_MOVED
    ]
    if log.held and log.outside:
        notes.append(
            f"{sum(log.outside.values()):,} rows in {log.default} stay there, since they cannot be moved without being "
            f"deleted: {'; '.join(log.held)}."
        )
    last = Month.around(log.now).later(ahead)
    if beyond := sum(rows for month, rows in log.outside.items() if month > last) + log.strays:
        notes.append(
            f"{beyond:,} rows in {log.default} are of times that have not come, or of none that queries have: "
            "they stay."
        )
    return notes
