"""Counting what traffic did, in little memory however long it runs."""

import math
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

_GROWTH = math.log(1.02)  # bins this wide make a percentile wrong by one per cent at most


@dataclass(frozen=True)
class TrafficReport:
    """What traffic did so far."""

    seconds: float
    reads: int
    writes: int
    heartbeats: int
    missed: int
    """Statements that came due while there was no connection; they are not made up for."""
    reconnects: int
    errors: dict[str, int]
    """Failures by their PostgreSQL name, such as `AdminShutdown`; those of the heartbeat under `heartbeat …`."""
    p50_ms: float
    """Latency from the moment a statement was due, so that waiting behind a slow one counts."""
    p95_ms: float

    @property
    def rate(self) -> float:
        """Statements per second that succeeded."""
        return (self.reads + self.writes) / self.seconds if self.seconds else 0.0


@dataclass
class Tally:
    """The running count; two threads add to it."""

    _began: float = field(default_factory=time.monotonic)
    _counts: Counter[str] = field(default_factory=Counter)
    _errors: Counter[str] = field(default_factory=Counter)
    _bins: Counter[int] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, what: str, number: int = 1) -> None:
        """Count one of `reads`, `writes`, `heartbeats`, `missed`, `reconnects`."""
        with self._lock:
            self._counts[what] += number

    def fail(self, name: str) -> None:
        """Count a failure."""
        with self._lock:
            self._errors[name] += 1

    def took(self, seconds: float) -> None:
        """Count one statement's latency."""
        with self._lock:
            self._bins[math.ceil(math.log(max(seconds, 1e-6)) / _GROWTH)] += 1

    def report(self) -> TrafficReport:
        """How things stand."""
        with self._lock:
            counts = self._counts
            return TrafficReport(
                seconds=time.monotonic() - self._began,
                reads=counts["reads"],
                writes=counts["writes"],
                heartbeats=counts["heartbeats"],
                missed=counts["missed"],
                reconnects=counts["reconnects"],
                errors=dict(self._errors),
                p50_ms=self._percentile(0.50),
                p95_ms=self._percentile(0.95),
            )

    def _percentile(self, share: float) -> float:
        wanted, seen = share * self._bins.total(), 0
        for number in sorted(self._bins):
            seen += self._bins[number]
            if seen >= wanted:
                return math.exp((number - 0.5) * _GROWTH) * 1000
        return 0.0
