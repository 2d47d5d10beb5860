"""What came of the fault suite: of every kind whether it was noticed, by which rung, and of all of them the rate."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from ops_workflows.repository.rungs import Rung

CATALOGUE = "catalogue"
"""Noticed before the ladder: the record by which a backup or a dump exists cannot be read, or is not there."""
RESTORABLE = "restorable"
_HEIGHTS = {name: height for height, name in enumerate((CATALOGUE, *Rung, RESTORABLE))}


class Verdict(StrEnum):
    """What one kind came to."""

    DETECTED = "detected"
    MISSED = "missed"
    QUIET = "quiet"
    FALSE_ALARM = "false alarm"
    SKIPPED = "skipped"
    BROKEN = "broken"


_MARKS = {
    Verdict.DETECTED: "✓",
    Verdict.MISSED: "✗",
    Verdict.QUIET: "✓",
    Verdict.FALSE_ALARM: "✗",
    Verdict.SKIPPED: "skipped",
    Verdict.BROKEN: "✗",
}


@dataclass(frozen=True, slots=True)
class Caught:
    """What a climb said.

    Attributes:
        by: The rung that was not shown, or `catalogue`, or for a dump `restorable`; None if all were shown.
        said: Its sentence.
    """

    by: str | None
    said: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """One kind.

    Attributes:
        kind: What was done, in words.
        family: What it was done to.
        must: By which rung it must be caught at the latest; None for a healthy variation.
        by: By which it was caught.
        said: The sentence.
        verdict: What that means.
        seconds: How long it took.
    """

    kind: str
    family: str
    must: str | None
    by: str | None
    said: str
    verdict: Verdict
    seconds: float = 0.0

    @property
    def mark(self) -> str:
        """For a table."""
        return _MARKS[self.verdict]


def judge(must: str, words: Sequence[str], caught: Caught) -> tuple[Verdict, str]:
    """Whether a fault was noticed as it must be, and the sentence to show.

    Args:
        must: By which rung at the latest.
        words: What the sentence must name.
        caught: What the climb said.
    """
    if caught.by is None:
        return Verdict.MISSED, f"Passed: {caught.said}"
    if _HEIGHTS[caught.by] > _HEIGHTS[must]:
        return Verdict.MISSED, f"Only {caught.by} says: {caught.said}"
    if lacking := [word for word in words if word not in caught.said]:
        return Verdict.MISSED, f"{', '.join(lacking)} is not named: {caught.said}"
    return Verdict.DETECTED, caught.said


@dataclass(frozen=True, slots=True)
class Summary:
    """All of them.

    Attributes:
        seed: What chance began with: the same seed makes the same damage.
        outcomes: In the order in which they were tried.
        seconds: How long it all took.
    """

    seed: int
    outcomes: tuple[Outcome, ...]
    seconds: float

    def count(self, *verdicts: Verdict) -> int:
        """How many came to one of these."""
        counted = Counter(outcome.verdict for outcome in self.outcomes)
        return sum(counted[verdict] for verdict in verdicts)

    @property
    def faults(self) -> int:
        """Faults that were tried."""
        return sum(outcome.must is not None for outcome in self._tried())

    @property
    def variations(self) -> int:
        """Healthy variations that were tried."""
        return sum(outcome.must is None for outcome in self._tried())

    @property
    def rate(self) -> float | None:
        """The share of the faults that was noticed, from 0 to 1; None where none was tried."""
        return self.count(Verdict.DETECTED) / self.faults if self.faults else None

    @property
    def passed(self) -> bool:
        """Whether every fault that was tried was noticed, without a false alarm, and something was tried at all."""
        wrong = self.count(Verdict.MISSED, Verdict.FALSE_ALARM, Verdict.BROKEN)
        return not wrong and bool(self.count(Verdict.DETECTED, Verdict.QUIET))

    def sentence(self) -> str:
        """The last line of the table."""
        detected = f"{self.count(Verdict.DETECTED)} of {self.faults}"
        rate = "none tried" if self.rate is None else f"{self.rate:.1%} ({detected})"
        return (
            f"Detection rate: {rate}. False alarms: {self.count(Verdict.FALSE_ALARM)} of {self.variations}. "
            f"Skipped: {self.count(Verdict.SKIPPED)}. Broken: {self.count(Verdict.BROKEN)}. "
            f"Seed {self.seed}, {self.seconds:,.0f} s."
        )

    def as_dict(self) -> dict[str, object]:
        """The same for machines."""
        return {
            "passed": self.passed,
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
            "faults": self.faults,
            "detected": self.count(Verdict.DETECTED),
            "detection_rate": self.rate,
            "variations": self.variations,
            "false_alarms": self.count(Verdict.FALSE_ALARM),
            "skipped": self.count(Verdict.SKIPPED),
            "broken": self.count(Verdict.BROKEN),
            "outcomes": [asdict(outcome) for outcome in self.outcomes],
        }

    def _tried(self) -> Iterable[Outcome]:
        return (outcome for outcome in self.outcomes if outcome.verdict is not Verdict.SKIPPED)
