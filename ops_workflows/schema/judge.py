"""What a rehearsal's measurements mean: a pure function from them and the limits to checks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ops_workflows.repository.rehearsals import FileTold, RehearsalCheck, TrafficTold
from ops_workflows.wording import first_few


@dataclass(frozen=True, slots=True)
class Limits:
    """What a migration may do to others.

    Attributes:
        lock_seconds: Longest that it may keep others out of a table, or make anybody wait.
        seconds: Longest that all its files may take.
    """

    lock_seconds: float
    seconds: float


def judge(files: Sequence[FileTold], traffic: Sequence[TrafficTold] | None, limits: Limits) -> list[RehearsalCheck]:
    """Hold what was measured against the limits.

    Args:
        files: What each did.
        traffic: How the traffic fared; None where there was none.
        limits: What is allowed.
    """
    seconds = sum(file.seconds for file in files)
    rewritten = sorted({table for file in files for each in file.statements for table in each.rewritten})
    note = f" Rewritten: {', '.join(rewritten)}." if rewritten else ""
    duration = f"All files took {seconds:.2f} s, {limits.seconds:g} s are allowed.{note}"
    return [
        _listed("locks", list(_long_locks(files, limits)), _longest_lock(files, limits)),
        _listed("waits", list(_long_waits(files, limits)), _longest_wait(files, limits, traffic)),
        RehearsalCheck(name="duration", passed=seconds <= limits.seconds, finding=duration),
        _traffic(traffic),
    ]


def _listed(name: str, faults: list[str], good: str) -> RehearsalCheck:
    return RehearsalCheck(name=name, passed=not faults, finding=first_few(faults) or good)


def _long_locks(files: Sequence[FileTold], limits: Limits) -> Iterator[str]:
    for file in files:
        for each in file.statements:
            lock = each.keeps_out
            if lock is not None and lock.seconds > limits.lock_seconds:
                others = f" and {each.locked_out - 1} more tables" if each.locked_out > 1 else ""
                rewrites = f", rewriting {len(each.rewritten)}" if each.rewritten else ""
                yield (
                    f"{file.file}, line {each.line}, holds {lock.mode} on {lock.table}{others}{rewrites}, for "
                    f"{lock.seconds:.2f} s; {limits.lock_seconds:g} s are allowed."
                )


def _longest_lock(files: Sequence[FileTold], limits: Limits) -> str:
    found = [lock for file in files for each in file.statements if (lock := each.keeps_out)]
    if not found:
        return "No table that was there is locked against reading or writing."
    longest = max(found, key=lambda lock: lock.seconds)
    allowed = f"{limits.lock_seconds:g} s are allowed"
    return f"The longest is {longest.mode} on {longest.table}, {longest.seconds:.2f} s; {allowed}."


def _long_waits(files: Sequence[FileTold], limits: Limits) -> Iterator[str]:
    for file in files:
        for each in file.statements:
            for name, seconds in each.waits.items():
                if seconds > limits.lock_seconds:
                    yield (
                        f"“{name}” waits {seconds:.2f} s behind {file.file}, line {each.line}; "
                        f"{limits.lock_seconds:g} s are allowed."
                    )


def _longest_wait(files: Sequence[FileTold], limits: Limits, traffic: Sequence[TrafficTold] | None) -> str:
    longest = max((file.longest_wait for file in files), default=0.0)
    if traffic is None:
        return "Nobody waited, for there was no traffic."
    return f"Nobody waited for longer than {longest:.2f} s; {limits.lock_seconds:g} s are allowed."


def _traffic(traffic: Sequence[TrafficTold] | None) -> RehearsalCheck:
    if traffic is None:
        return RehearsalCheck(
            name="traffic", passed=None, finding="Not run: there is no file OPS_TRAFFIC_FILE, or its rate is 0."
        )
    broken = [
        f"“{each.name}” works before the migration and fails since: {each.failed_since}."
        for each in traffic
        if each.failed_since and not each.failed_before
    ]
    never = [each.name for each in traffic if each.failed_before]
    if len(never) == len(traffic):
        return RehearsalCheck(
            name="traffic",
            passed=False,
            finding="Each statement of the traffic failed before the migration, so it says nothing: correct "
            "OPS_TRAFFIC_FILE.",
        )
    sent = sum(each.sent for each in traffic)
    note = f" It says nothing of {', '.join(never)}, which failed before, too." if never else ""
    return _listed("traffic", broken, f"{sent:,} statements were sent, and what worked goes on working.{note}")
