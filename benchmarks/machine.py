"""What else the machine had to do: a figure means little if others had the cores meanwhile, so that is measured too."""

import os
import time
from collections.abc import Iterable
from contextlib import suppress

import psutil

from benchmarks.measure import Measured

_QUIET_PERCENT = 10.0  # of all cores
_QUIET_SECONDS = 60
_SAMPLE_SECONDS = 0.5


def wait_for_quiet() -> None:
    """Wait until the machine has nothing else to do, a minute at most."""
    deadline = time.monotonic() + _QUIET_SECONDS
    while psutil.cpu_percent(interval=_SAMPLE_SECONDS) > _QUIET_PERCENT and time.monotonic() < deadline:
        pass


class Others:
    """The share of the cores that went to others, from its making on.

    Args:
        services: The processes that work for whoever is measured; their children count with them.
    """

    def __init__(self, services: Iterable[psutil.Process]) -> None:
        self._services = list(services)
        self._own = self._service_seconds()
        self._busy = _busy_seconds()

    def share(self, measured: Measured) -> float:
        """Of all cores while a program ran that has just ended, from 0 to 1."""
        own = self._service_seconds() - self._own + measured.cpu_seconds
        others = _busy_seconds() - self._busy - own
        return max(0.0, others) / (measured.seconds * (os.cpu_count() or 1))

    def _service_seconds(self) -> float:
        return sum(_seconds(process) for process in self._services)


def _busy_seconds() -> float:
    times = psutil.cpu_times()
    return sum(times) - times.idle - times.iowait - times.guest - times.guest_nice  # guests count as users already


def _seconds(service: psutil.Process) -> float:
    """Of a process, of its children that have ended, and of those that live."""
    times = service.cpu_times()
    total = times.user + times.system + times.children_user + times.children_system
    for child in service.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            total += sum(child.cpu_times()[:2])
    return float(total)
