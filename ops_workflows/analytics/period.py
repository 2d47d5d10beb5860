"""Periods: whole hours and days of UTC."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Self

from ops_workflows.errors import ConfigurationError


class Grain(StrEnum):
    """How long a period is."""

    HOUR = "hour"
    DAY = "day"

    @property
    def length(self) -> timedelta:
        """UTC has no daylight saving: a day is always 24 hours."""
        return timedelta(hours=1) if self is Grain.HOUR else timedelta(days=1)

    def floor(self, moment: datetime) -> datetime:
        """Where the period begins that a moment is in."""
        whole = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        return whole if self is Grain.HOUR else whole.replace(hour=0)


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """One hour or day.

    Attributes:
        grain: Which of the two.
        start: Its beginning, UTC; the end is not in it.
    """

    grain: Grain
    start: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.grain.floor(self.start) != self.start:
            raise ConfigurationError(f"No {self.grain} of UTC begins at {self.start}: name a moment at which one does.")

    @classmethod
    def around(cls, grain: Grain, moment: datetime) -> Self:
        """The period that a moment is in."""
        return cls(grain, grain.floor(moment))

    @property
    def end(self) -> datetime:
        """Where the next one begins."""
        return self.start + self.grain.length

    def __str__(self) -> str:
        return f"{self.start:%Y-%m-%d %H:00} UTC" if self.grain is Grain.HOUR else f"{self.start:%Y-%m-%d}"
