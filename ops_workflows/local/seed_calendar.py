"""When the generated queries come: hour by hour over sixty days, with nights, weekends and festivals."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import accumulate, pairwise
from random import Random

DAYS = 60

# Share of a day's queries in each hour, UTC. Most users are in India (UTC+5:30), where the day begins with its almanac.
_HOURS = (95, 100, 90, 70, 55, 48, 45, 44, 42, 40, 42, 50, 62, 72, 70, 58, 42, 28, 18, 13, 14, 22, 42, 70)
_WEEKEND = 1.2
_FESTIVAL = 2.5
_FESTIVALS = 4
_SATURDAY = 5


def hourly(random: Random, rows: int, base: datetime) -> Iterator[tuple[datetime, int]]:
    """Share `rows` out over the hours of the `DAYS` days before `base`, oldest first.

    Yields:
        An hour's beginning and its number of rows, which add up to exactly `rows`.
    """
    start = base - timedelta(days=DAYS)
    hours = [start + timedelta(hours=number) for number in range(DAYS * 24)]
    festivals = {(start + timedelta(days=day)).date() for day in random.sample(range(DAYS), _FESTIVALS)}
    weights = []
    for number, hour in enumerate(hours):
        growth = 0.7 + 0.3 * number / len(hours)
        weekend = _WEEKEND if hour.weekday() >= _SATURDAY else 1.0
        festival = _FESTIVAL if hour.date() in festivals else 1.0
        weights.append(_HOURS[hour.hour] * growth * weekend * festival)
    total = sum(weights)
    # Rounding the running sum, not each share, loses no row.
    marks = [0, *(round(rows * sofar / total) for sofar in accumulate(weights))]
    for hour, (low, high) in zip(hours, pairwise(marks), strict=True):
        if high > low:
            yield hour, high - low
