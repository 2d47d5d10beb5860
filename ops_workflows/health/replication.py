"""Standbys and slots, as the server sees them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files

from ops_workflows.health.reading import Check, Reading, Severity, Threshold, critical, measured, ok

STANDBYS = files(__package__).joinpath("standbys.sql").read_text().encode()
SLOTS = files(__package__).joinpath("slots.sql").read_text().encode()
CHECKS = (Check.LAG_BYTES, Check.LAG_SECONDS, Check.SLOTS)

_LOST = {"lost": "has lost what it kept", "unreserved": "is about to lose what it keeps"}


@dataclass(frozen=True, slots=True)
class Standby:
    """A row of standbys.sql; seconds are None where the server has measured none, as while nothing is written."""

    name: str
    state: str
    bytes: float
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Slot:
    """A row of slots.sql; what it keeps is None where it keeps nothing yet, or nothing any more."""

    name: str
    active: bool
    kept: str | None
    bytes: float | None


def judge_standbys(
    seen: Sequence[Standby], *, expected: bool, in_bytes: Threshold, in_seconds: Threshold
) -> Iterator[Reading]:
    """How far they are behind.

    Args:
        seen: All that are connected.
        expected: Whether there has to be one.
        in_bytes: How much it may be.
        in_seconds: For how long.
    """
    if not seen:
        for check in (Check.LAG_BYTES, Check.LAG_SECONDS):
            if expected:
                yield critical(
                    check, "No standby streams from the server.", "start it; clone it anew if it cannot follow"
                )
            else:
                yield ok(check, "There is no standby, and none is expected.")
        return
    by_bytes = max(seen, key=lambda each: each.bytes)
    do = "see whether its disk, its network or a long query on it is what holds it up"
    said = f"{by_bytes.name} is {by_bytes.bytes:,.0f} bytes of log behind."
    yield measured(Check.LAG_BYTES, by_bytes.bytes, "bytes", in_bytes, said=said, do=do)
    by_seconds = max(seen, key=_seconds)
    said = f"{by_seconds.name} is {_seconds(by_seconds):,.3f} s behind."
    yield measured(Check.LAG_SECONDS, round(_seconds(by_seconds), 3), "s", in_seconds, said=said, do=do)


def _seconds(standby: Standby) -> float:
    return standby.seconds or 0.0


def judge_slots(seen: Sequence[Slot], threshold: Threshold) -> Reading:
    """The worst of them, and what is with the others that are not well."""
    readings = sorted(
        (_slot(each, threshold) for each in seen), key=lambda each: (-each.severity.rank, -(each.value or 0))
    )
    if not readings or readings[0].severity is Severity.OK:
        most = max((each.bytes or 0 for each in seen), default=0)
        return measured(
            Check.SLOTS, most, "bytes", threshold, said=f"All {len(seen)} are in use; none keeps too much.", do=""
        )
    said = " ".join(each.said for each in readings if each.severity is not Severity.OK)
    return Reading(Check.SLOTS, readings[0].severity, said, readings[0].value, "bytes", threshold)


def _slot(slot: Slot, threshold: Threshold) -> Reading:
    bytes_kept = slot.bytes or 0.0
    if slot.kept in _LOST:
        said = f"Slot {slot.name} {_LOST[slot.kept]}. To do: drop it, and begin whoever used it anew."
        return Reading(Check.SLOTS, Severity.CRITICAL, said, bytes_kept)
    severity = threshold.judge(bytes_kept)
    if not slot.active:
        severity = max(severity, Severity.WARNING, key=lambda each: each.rank)
    use = "in use" if slot.active else "used by nobody"
    said = f"Slot {slot.name} is {use} and keeps {bytes_kept:,.0f} bytes of log. To do: start what uses it, or drop it."
    return Reading(Check.SLOTS, severity, said, bytes_kept)
