"""What a kind of fault is, and what a healthy variation is."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from random import Random

from ops_workflows.faults.look import Look
from ops_workflows.faults.stage import Stage


class SkippedError(Exception):
    """A kind cannot be tried here; the text says why."""


@dataclass(frozen=True, slots=True)
class Made:
    """A fault that has been made.

    Attributes:
        look: Looks at the backup or the dump.
        words: What the finding must name.
    """

    look: Look
    words: tuple[str, ...]


Make = Callable[[Stage, Random], AbstractContextManager[Made]]


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault.

    Attributes:
        kind: In words.
        family: What it is done to.
        must: By which rung it must be caught at the latest.
        make: Makes it for the length of a `with`, and brings everything back afterwards.
        fast: Whether it belongs to the fast subset.
    """

    kind: str
    family: str
    must: str
    make: Make
    fast: bool = False


MakeHealthy = Callable[[Stage, Random], AbstractContextManager[Look]]


@dataclass(frozen=True, slots=True)
class Healthy:
    """Variations of what is healthy that share one look, and must raise nothing.

    Attributes:
        kinds: Each in words.
        family: What they are about.
        make: Brings them about for the length of a `with`.
        fast: Whether they belong to the fast subset.
    """

    kinds: tuple[str, ...]
    family: str
    make: MakeHealthy
    fast: bool = False
