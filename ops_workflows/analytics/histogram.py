"""Response times in logarithmic bins: they merge by adding, and every percentile read from them is within 1 %."""

import math
from collections import Counter
from collections.abc import Iterable

GROWTH = 1.01 / 0.99
"""Each bin ends so much higher than the one before: no two values in it differ by more than 2 %."""

ZERO = -1
"""The bin of zero, and of anything below it."""


def bin_of(milliseconds: int) -> int:
    """The bin that a response time is counted in."""
    return math.ceil(math.log(milliseconds) / math.log(GROWTH)) if milliseconds > 0 else ZERO


def value_of(number: int) -> float:
    """What stands for a bin's response times, in milliseconds: off by 1 % at most, and exact up to 50.

    They are whole milliseconds, of which a low bin can hold only one.
    """
    if number == ZERO:
        return 0.0
    low, high = math.floor(GROWTH ** (number - 1)) + 1, math.floor(GROWTH**number)
    return 2 * low * high / (low + high) if low <= high else 2 * GROWTH**number / (GROWTH + 1)


def merge(histograms: Iterable[tuple[Iterable[int], Iterable[int]]]) -> Counter[int]:
    """How many response times are in each bin of all histograms, which are pairs of bins and counts."""
    merged: Counter[int] = Counter()
    for bins, counts in histograms:
        for number, count in zip(bins, counts, strict=True):
            merged[number] += count
    return merged


def percentile(histogram: Counter[int], share: float) -> float | None:
    """The response time that a share of all stay within, in milliseconds, as `percentile_cont` understands it.

    Args:
        histogram: How many are in each bin.
        share: From 0 to 1.

    Returns:
        None, if there are none at all.
    """
    total = histogram.total()
    if not total:
        return None
    place = share * (total - 1)
    low, high = _at(histogram, math.floor(place)), _at(histogram, math.ceil(place))
    return low + (high - low) * (place % 1)


def _at(histogram: Counter[int], rank: int) -> float:
    """What stands at a place of all response times in their order, counted from zero."""
    passed = 0
    for number in sorted(histogram):
        passed += histogram[number]
        if passed > rank:
            return value_of(number)
    return value_of(max(histogram))
