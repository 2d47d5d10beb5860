"""A bound on the time that work may take, kept where the work says how far it is."""

import time

from ops_workflows.errors import RefusedError
from ops_workflows.progress import BYTES, Progress


class Deadline:
    """Passes progress on, and breaks the work off once its time is over."""

    def __init__(self, progress: Progress, seconds: float, what: str) -> None:
        self._progress = progress
        self._ends = time.monotonic() + seconds
        self._why = f"{what} was broken off after {seconds:,.0f} s."

    @property
    def left(self) -> float:
        """Seconds until it ends; at least one, for those who need a bound of their own."""
        return max(1.0, self._ends - time.monotonic())

    def begin(self, phase: str, total: int | None, unit: str = BYTES) -> None:
        """A phase begins.

        Raises:
            RefusedError: The time is over.
        """
        self._check()
        self._progress.begin(phase, total, unit)

    def advance(self, done: int) -> None:
        """So much of it is done.

        Raises:
            RefusedError: The time is over.
        """
        self._check()
        self._progress.advance(done)

    def say(self, sentence: str) -> None:
        """Something worth reading later."""
        self._progress.say(sentence)

    def _check(self) -> None:
        if time.monotonic() > self._ends:
            raise RefusedError(self._why)
