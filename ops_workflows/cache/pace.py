"""How fast to prune, and when to pause: pure decisions from what was measured."""

from dataclasses import dataclass
from datetime import datetime, time

FIRST_BATCH = 1_000
_LEAST_BATCH = 100
_MOST_BATCH = 20_000
_LEAST_VACUUM_SECONDS = 10
_MOST_CHANGE = 2.0  # one batch that was slow or quick by chance does not decide alone


@dataclass(frozen=True, slots=True)
class Window:
    """Hours of the day, UTC, in which nothing is pruned; it may pass midnight."""

    start: time
    end: time

    @classmethod
    def parse(cls, text: str) -> "Window":
        """Read HH:MM-HH:MM.

        Raises:
            ValueError: It is no such text, or both ends are one.
        """
        start, _, end = text.partition("-")
        made = cls(time.fromisoformat(start), time.fromisoformat(end))
        if made.start == made.end:
            raise ValueError(f"{text!r} begins when it ends")
        return made

    def holds(self, moment: datetime) -> bool:
        """Whether a moment, in UTC, lies in it; the end does not."""
        at = moment.time()
        if self.start < self.end:
            return self.start <= at < self.end
        return at >= self.start or at < self.end

    def __str__(self) -> str:
        return f"{self.start:%H:%M} to {self.end:%H:%M} UTC"


@dataclass(frozen=True, slots=True)
class Burden:
    """What the server bears at one moment.

    Attributes:
        at: When, by the server's clock, UTC.
        canary_seconds: How long a query such as the application's took; None if it did not come back in time.
        replica: The standby that is furthest behind; empty without one.
        lag_seconds: How far it is behind in time, as far as that is known.
        lag_bytes: How far it is behind in the log.
        slot: The replication slot that keeps the most of the log; empty without one.
        slot_bytes: How much that is.
        maintained: Whether a vacuum, an ANALYZE or the building of an index works on the table.
        unarchived_bytes: How much of the log waits for archiving, as far as that is known.
    """

    at: datetime
    canary_seconds: float | None
    replica: str = ""
    lag_seconds: float = 0.0
    lag_bytes: int = 0
    slot: str = ""
    slot_bytes: int = 0
    maintained: bool = False
    unarchived_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """What the server may bear while rows are pruned; beyond, pruning pauses."""

    canary_seconds: float
    lag_seconds: float
    lag_bytes: int
    slot_bytes: int
    window: Window | None = None


def next_batch(rows: int, seconds: float, target_seconds: float) -> int:
    """How many rows the next batch should have.

    Args:
        rows: Of the last batch.
        seconds: That it took.
        target_seconds: That a batch should take.
    """
    factor = target_seconds / seconds if seconds > 0 else _MOST_CHANGE
    wanted = rows * min(max(factor, 1 / _MOST_CHANGE), _MOST_CHANGE)
    return round(min(max(wanted, _LEAST_BATCH), _MOST_BATCH))


def to_rest(seconds: float, duty: float) -> float:
    """Seconds to rest after a batch, so that batches fill so much of the time and no more.

    Args:
        seconds: That the batch took.
        duty: Fraction of the time that batches may fill.
    """
    return seconds * (1 / duty - 1)


def why_pause(burden: Burden, limits: Limits) -> str | None:
    """Why to delete nothing now, as a clause with the figures; None if nothing speaks against it."""
    canary = burden.canary_seconds
    reasons = (
        (
            limits.window is not None and limits.window.holds(burden.at),
            f"it is {burden.at:%H:%M}, within the pause from {limits.window}",
        ),
        (burden.maintained, "a vacuum, an ANALYZE or an index build works on the table"),
        (canary is None, "the canary query did not come back in time"),
        (
            canary is not None and canary > limits.canary_seconds,
            f"the canary query took {(canary or 0) * 1e3:.0f} ms of {limits.canary_seconds * 1e3:.0f} ms",
        ),
        (
            burden.lag_bytes > limits.lag_bytes,
            f"the standby {burden.replica} is {_megabytes(burden.lag_bytes)} behind, of {_megabytes(limits.lag_bytes)}",
        ),
        (
            burden.lag_seconds > limits.lag_seconds,
            f"the standby {burden.replica} is {burden.lag_seconds:.1f} s behind, of {limits.lag_seconds:.1f} s",
        ),
        (
            burden.slot_bytes > limits.slot_bytes,
            f"the slot {burden.slot} keeps {_megabytes(burden.slot_bytes)} of log, of {_megabytes(limits.slot_bytes)}",
        ),
        (
            burden.unarchived_bytes > limits.slot_bytes,
            f"{_megabytes(burden.unarchived_bytes)} of log wait for archiving, of {_megabytes(limits.slot_bytes)}",
        ),
    )
    return next((reason for holds, reason in reasons if holds), None)


def vacuum_seconds(left_seconds: float) -> int:
    """How long a vacuum may take of what a run has left, which deleting may have used up."""
    return max(_LEAST_VACUUM_SECONDS, round(left_seconds))


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def vacuum_pays(dead_rows: int, live_rows: int, *, fraction: float, least_rows: int = 1_000) -> bool:
    """Whether so many dead rows are worth reading the table for.

    Args:
        dead_rows: That a vacuum would clean up.
        live_rows: That stay.
        fraction: Of all rows that have to be dead.
        least_rows: That have to be dead in any case.
    """
    return dead_rows >= least_rows and dead_rows >= fraction * (dead_rows + live_rows)
