"""What this room needs of Dagster's memory, in plain words: `defs.py` gives it, so that nothing else knows Dagster."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sqlalchemy import Connection

from ops_workflows.run_history.plan import Named


@dataclass(frozen=True, slots=True)
class EndedRun:
    """A run that has ended, with the id of the backfill that it belongs to, if it does."""

    run_id: str
    job: str
    succeeded: bool
    ended: datetime
    backfill: str | None = None


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run that has not ended, when it was made, and the runs that it tries again."""

    run_id: str
    made: datetime
    again: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Newest:
    """By the id of a run, the assets or checks that it says the newest of, and those of whose partitions it does."""

    of: Mapping[str, frozenset[str]]
    partition_of: Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Ticker:
    """A schedule or sensor: how many days of its ticks are kept, by their status, and when its newest tick was."""

    name: str
    origin_id: str
    selector_id: str
    days: Mapping[str, int]
    newest: datetime | None


class Memory(Protocol):
    """Dagster's runs, events and ticks. All moments are in UTC."""

    def runs(self) -> AbstractContextManager[Connection]:
        """A connection to the tables of runs."""

    def events(self) -> AbstractContextManager[Connection]:
        """A connection to the events of all runs together, and to all that is known of assets and checks."""

    def runless_events(self) -> AbstractContextManager[Connection]:
        """A connection to the events that belong to no run; another file than `events` where these are files."""

    def ticks(self) -> AbstractContextManager[Connection] | None:
        """A connection to the ticks; None where there are none."""

    def ended(self, before: datetime) -> Iterator[EndedRun]:
        """Runs that ended before a moment, in the order in which they were made."""

    def open_runs(self) -> Iterable[OpenRun]:
        """Runs that have not ended."""

    def open_backfills(self) -> frozenset[str]:
        """Ids of the backfills that have not ended."""

    def newest(self) -> Newest:
        """Which runs say the newest of assets."""

    def named(self, run_id: str) -> frozenset[Named]:
        """The backups that a run names."""

    def remove(self, run_ids: Sequence[str]) -> None:
        """Remove runs with their events and their output, themselves last; nothing of those that are gone."""

    def remove_empty_files(self) -> int:
        """Remove files of events that belong to no run any more; how many there were."""

    def tickers(self) -> Iterable[Ticker]:
        """All schedules and sensors that have ever ticked, those of former code too."""

    def purge_ticks(self, ticker: Ticker, status: str, before: datetime) -> None:
        """Remove its ticks of a status from before a moment."""
