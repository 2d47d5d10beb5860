"""The rungs of proof, and what climbing one of them says: passed, or not, with the evidence."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Rung(StrEnum):
    """What has been shown of a backup; each says more than the one before."""

    STORED = "stored"
    CHECKSUMMED = "checksummed"
    BOOTED = "booted"


@dataclass(frozen=True, slots=True)
class Climb:
    """One attempt at one rung.

    Attributes:
        rung: Which.
        passed: Whether it was shown. “Could not be looked at” is an error, never a pass.
        finding: One sentence: what was shown, or exactly what failed.
        evidence: Figures and names, for a person or a plot.
    """

    rung: Rung
    passed: bool
    finding: str
    evidence: Mapping[str, float | int | str]
