"""How a period's statistics stand to what they were made from, and whether they have to be made again."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from importlib.resources import files

from ops_workflows.analytics.period import Grain, Period
from ops_workflows.postgres.connection import Connection

OLDEST = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
"""Rows from before are no queries of an application: they are told of, and not rolled up."""

_STANDINGS = {grain: files(__package__).joinpath(f"{grain}s.sql").read_text().encode() for grain in Grain}


class State(StrEnum):
    """What is to be said of a period."""

    AGREES = "agrees"
    NEW = "new"
    LATE = "late"
    ALTERED = "altered"
    FEWER = "fewer"
    AFTERWARDS = "came after its month was dropped"

    @property
    def is_due(self) -> bool:
        """Whether it has to be rolled up. One whose source has fewer rows is history: made again, it would be lost."""
        return self in {State.NEW, State.LATE, State.ALTERED}


@dataclass(frozen=True, slots=True)
class Standing:
    """One period.

    Attributes:
        period: Which.
        source: Rows it would be rolled up from now.
        rolled_up: Rows it was rolled up from; None, if it never was.
        kept: Rows that its statistics count.
        outdated: What it was made from is as many rows, but not the same: an hour of a day was made again since, or the
            response times of an hour come to another sum.
        dropped: Its rows were let go with their month, so that whatever the log has of it came afterwards.
    """

    period: Period
    source: int
    rolled_up: int | None
    kept: int
    outdated: bool = False
    dropped: bool = False

    @property
    def state(self) -> State:
        """What that comes to."""
        if self.dropped and self.source:
            return State.AFTERWARDS
        if self.rolled_up is None:
            return State.NEW if self.source >= self.kept else State.FEWER
        if self.source != self.rolled_up:
            return State.LATE if self.source > self.rolled_up else State.FEWER
        if self.kept != self.rolled_up:
            return State.ALTERED
        return State.LATE if self.outdated else State.AGREES

    @property
    def reconciles(self) -> bool:
        """Whether nothing is wrong with it: it agrees, is yet to be rolled up, or is history, with no row left."""
        if self.state is State.FEWER:
            return not self.source and self.kept == self.rolled_up
        return self.state in {State.AGREES, State.NEW}


def standings(connection: Connection, grain: Grain, since: datetime, until: datetime) -> list[Standing]:
    """All periods that have rows, or had, in the order of time.

    Args:
        connection: Of a role that may read both schemas.
        grain: Hours, from the log; or days, from the hours.
        since: Of which on; the beginning of a period.
        until: Before which; likewise.
    """
    found = connection.execute(_STANDINGS[grain], {"since": since, "until": until})
    return [Standing(Period.around(grain, start), *rest) for start, *rest in found]
