"""Probes: each looks at one thing within its time, in a thread of its own, and is not waited for longer than that.

A thread that hangs cannot be ended from outside. It keeps no process alive, and as long as it hangs no further one is
begun for the same thing: so many rounds after one another leave as many threads as there are things that hang.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from ops_workflows.errors import OpsError
from ops_workflows.health.evidence import Held, Sighting
from ops_workflows.health.reading import Check, Reading, Severity

Seen = Reading | Sighting | Held

_at_work: dict[tuple[str, str], list[tuple[threading.Thread, float]]] = {}
_beginning = threading.Lock()


class OutOfTimeError(OpsError):
    """The round is over."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The time of a round.

    Attributes:
        until: Its end, on the monotonic clock.
        longest: Seconds that any step may take.
    """

    until: float
    longest: int

    def step(self) -> int:
        """Whole seconds for the next step.

        Raises:
            OutOfTimeError: There is no time left for one.
        """
        left = int(self.until - time.monotonic())
        if left < 1:
            raise OutOfTimeError("There was no time left for it.")
        return min(self.longest, left)


@dataclass(frozen=True, slots=True)
class Probe:
    """Looks at one thing.

    Attributes:
        name: Of the probe.
        where: What it looks at; with the name it says whether another thread is at the very same.
        checks: Those that it reads, in this order.
        look: Yields what it sees as it goes; ends where there is no use in going on, or raises OpsError.
        silence: How the check is that was next, where that was raised or no answer came; the others are unknown.
    """

    name: str
    where: str
    checks: Sequence[Check]
    look: Callable[[Budget], Iterable[Seen]]
    silence: Severity = Severity.UNKNOWN


@dataclass(frozen=True, slots=True)
class _Said:
    """What comes from a thread: something that was seen, or how it ended."""

    probe: int
    seen: Seen | None = None
    end: "_End | None" = None


@dataclass(frozen=True, slots=True)
class _End:
    """How a probe has ended: in which severity for the check that was next, and why."""

    severity: Severity
    why: str


def gather(probes: Sequence[Probe], seconds: float, longest: int) -> list[Seen]:
    """Let all of them look at once, and come back in time whatever happens.

    Args:
        probes: All of them.
        seconds: For all together.
        longest: Whole seconds for any step of one.

    Returns:
        What they saw, with a reading for each of their checks.
    """
    budget = Budget(time.monotonic() + seconds, longest)
    said: SimpleQueue[_Said] = SimpleQueue()
    ends = [_End(probe.silence, f"No answer within {seconds:g} s.") for probe in probes]
    seen: list[list[Seen]] = [[] for _ in probes]
    waiting = set()
    for number, probe in enumerate(probes):
        if _begin(probe, number, budget, said):
            waiting.add(number)
        else:
            ends[number] = _End(probe.silence, "It still hangs since a round before.")
    while waiting:
        try:
            each = said.get(timeout=max(0.0, budget.until - time.monotonic()))
        except Empty:
            break
        if each.seen is not None:
            seen[each.probe].append(each.seen)
        if each.end is not None:
            ends[each.probe] = each.end
            waiting.discard(each.probe)
    return [found for each in zip(probes, seen, ends, strict=True) for found in _whole(*each)]


def _begin(probe: Probe, number: int, budget: Budget, said: "SimpleQueue[_Said]") -> bool:
    """Start its thread, unless one of a round that is over still hangs."""
    key, now = (probe.name, probe.where), time.monotonic()
    with _beginning:
        for each in list(_at_work):  # settings may change, so what has ended is forgotten whatever it was
            _at_work[each] = [(thread, until) for thread, until in _at_work[each] if thread.is_alive()]
            if not _at_work[each]:
                del _at_work[each]
        if any(until < now for _, until in _at_work.get(key, ())):
            return False
        thread = threading.Thread(target=_run, args=(probe, number, budget, said), name=probe.name, daemon=True)
        thread.start()
        _at_work.setdefault(key, []).append((thread, budget.until))
    return True


def _run(probe: Probe, number: int, budget: Budget, said: "SimpleQueue[_Said]") -> None:
    end = _End(Severity.UNKNOWN, "It broke off.")  # of whatever else was raised, the thread's own hook tells
    try:
        for seen in probe.look(budget):
            said.put(_Said(number, seen))
        end = _End(Severity.UNKNOWN, "Not looked at, since there was no use in it.")
    except OpsError as error:
        end = _End(probe.silence, str(error))
    finally:
        said.put(_Said(number, end=end))


def _whole(probe: Probe, seen: Sequence[Seen], end: _End) -> Iterator[Seen]:
    """What was seen, and something of each check that nothing was seen of."""
    yield from seen
    read = {each.check for each in seen if isinstance(each, Reading)}
    missing = [check for check in probe.checks if check not in read]
    for check in missing:
        if check is missing[0]:
            yield Reading(check, end.severity, end.why)
        else:
            yield Reading(
                check, Severity.UNKNOWN, f"Not looked at: {missing[0]} came first, and did not come to an end."
            )
