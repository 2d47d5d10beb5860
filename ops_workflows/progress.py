"""How long work tells a person, or a log, how it is getting on."""

import logging
import time
from typing import Protocol

BYTES = "bytes"


class Progress(Protocol):
    """Hears of phases, of their advance, and of what deserves a sentence."""

    def begin(self, phase: str, total: int | None, unit: str = BYTES) -> None:
        """A phase begins; `total` is how much it will be, None if unknown."""

    def advance(self, done: int) -> None:
        """So much of the present phase is done, counted from its beginning."""

    def say(self, sentence: str) -> None:
        """Something worth reading later."""


class Silent:
    """For callers who do not want to hear."""

    def begin(self, phase: str, total: int | None, unit: str = BYTES) -> None:
        """Not told."""

    def advance(self, done: int) -> None:
        """Not told."""

    def say(self, sentence: str) -> None:
        """Not told."""


SILENT: Progress = Silent()
_LOG_EVERY_SECONDS = 15


class Logged:
    """Into a log: phases, sentences, and every 15 seconds how far a long phase has come."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._phase = ""
        self._total: int | None = None
        self._logged = time.monotonic()

    def begin(self, phase: str, total: int | None, unit: str = BYTES) -> None:
        """A line for the phase."""
        self._phase, self._total, self._logged = phase, total, time.monotonic()
        much = "" if not total else f" ({total / 1e6:,.0f} MB)" if unit == BYTES else f" ({total:,} {unit})"
        self._log.info("%s%s", phase, much)

    def advance(self, done: int) -> None:
        """A line now and then."""
        if self._total and time.monotonic() - self._logged >= _LOG_EVERY_SECONDS:
            self._logged = time.monotonic()
            self._log.info("%s: %d %%", self._phase, 100 * done // self._total)

    def say(self, sentence: str) -> None:
        """A line."""
        self._log.warning(sentence)
