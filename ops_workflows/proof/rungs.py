"""What climbing a rung says: passed, or not, with the evidence."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ops_workflows.repository.rungs import Rung


@dataclass(frozen=True, slots=True)
class Climb:
    """One attempt at one rung.

    Attributes:
        rung: Which.
        passed: Whether it was shown. “Could not be looked at” is an error, never a pass.
        finding: One sentence: what was shown, or exactly what failed.
        evidence: Figures and names, for a person or a plot.
        shown_at: When, if that was earlier and nothing has changed since; None if it has just been tried.
    """

    rung: Rung
    passed: bool
    finding: str
    evidence: Mapping[str, float | int | str] = field(default_factory=dict)
    shown_at: datetime | None = None
