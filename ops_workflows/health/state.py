"""What piles up or is broken in the cluster: ages, failures, deadlocks, indexes, settings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files

from ops_workflows.health.reading import Check, Reading, Threshold, critical, measured, ok, warning

STATE = files(__package__).joinpath("state.sql").read_text().encode()
CHECKS = (
    Check.WRAPAROUND,
    Check.CHECKSUM_FAILURES,
    Check.DEADLOCKS,
    Check.INVALID_INDEXES,
    Check.PENDING_RESTART,
)
_DAY = 86_400
_NAMED = 5


@dataclass(frozen=True, slots=True)
class State:
    """A row of state.sql."""

    age: int
    oldest: str
    checksums: str
    checksum_failures: int
    last_failure: datetime | None
    deadlocks: int
    counted_seconds: float | None
    invalid_indexes: Sequence[str]
    pending_restart: Sequence[str]


def judge(seen: State, age: Threshold, deadlocks: Threshold) -> Iterator[Reading]:
    """What it comes to."""
    yield measured(
        Check.WRAPAROUND,
        seen.age,
        "transactions",
        age,
        said=f"The oldest row that is not frozen is {seen.age:,} transactions old, in database {seen.oldest}.",
        do="see what holds vacuums back (`ops tables`), then VACUUM (FREEZE) the oldest tables",
    )
    yield _checksums(seen)
    # Of a short time one deadlock would make many a day.
    days = max((seen.counted_seconds or 0) / _DAY, 1.0)
    yield measured(
        Check.DEADLOCKS,
        round(seen.deadlocks / days, 2),
        "a day",
        deadlocks,
        said=f"{seen.deadlocks:,} deadlocks in {days:,.1f} days or less.",
        do="see the server's log for the statements, and let them take locks in one order",
    )
    yield _none(
        Check.INVALID_INDEXES,
        seen.invalid_indexes,
        "Every index is valid.",
        "Not valid, so updated and never used: {}.",
        "DROP INDEX CONCURRENTLY, or REINDEX INDEX CONCURRENTLY",
    )
    yield _none(
        Check.PENDING_RESTART,
        seen.pending_restart,
        "No setting waits for a restart.",
        "Changed, and not in force before a restart: {}.",
        "restart the server at a quiet hour, or take the change back",
    )


def _checksums(seen: State) -> Reading:
    check = Check.CHECKSUM_FAILURES
    if seen.checksum_failures:
        said = f"{seen.checksum_failures:,} pages did not match their checksums, the last at {seen.last_failure}."
        do = "look at the disk, find what is damaged with pg_amcheck, and restore it: `ops restore-table`"
        return critical(check, said, do, seen.checksum_failures, "pages")
    if seen.checksums == "off":
        do = "stop the server and run pg_checksums --enable"
        return warning(check, "Data checksums are off, so damage on disk goes unnoticed.", do)
    return ok(check, "No page failed its checksum.", 0, "pages")


def _none(check: Check, names: Sequence[str], well: str, ill: str, do: str) -> Reading:
    if not names:
        return ok(check, well, 0)
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return warning(check, ill.format(", ".join(names[:_NAMED]) + more), do, len(names))
