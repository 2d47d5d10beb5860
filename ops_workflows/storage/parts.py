"""In which parts an object is sent whose size nobody knows before its end.

S3 takes at most 10,000 parts and none above 5 GiB (https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html),
and whoever sends a part holds all of it in memory. So parts begin small and grow with what has been stored: most of
them are a 20,000th of what is expected before compression, and together enough for what compression leaves of most
databases, a third. The next, eight times as large, are enough for what cannot be compressed at all. What then still
comes is in parts that double quickly: 5 TiB, the most that S3 takes, fit however wrong the expectation was.
"""

from collections.abc import Iterator
from itertools import chain, count, islice, repeat

MiB = 1024 * 1024
SMALLEST_PART = 8 * MiB  # S3 demands 5 MiB; below 8 the calls cost more than the bytes
LARGEST_PART = 5 * 1024 * MiB  # S3 takes no more
MOST_PARTS = 10_000
_FIRST = 400  # of the smallest size, whatever is expected: an increment may be all there is
_MIDDLE = 6_400  # of the middle size
_LARGE = 2_000  # of eight times the middle size
_EXPECTED = 20_000  # middle sizes: the two have room for an eighth more, since a database grows while it is backed up
_DOUBLED_EVERY = 32
_STEPS = 8  # middle sizes between one power of two and the next: few, so that a mirror can tell which it was


def part_sizes(expected_bytes: int) -> Iterator[int]:
    """The sizes of an object's parts, one after the other, as many as S3 takes.

    Args:
        expected_bytes: How large the object may become, such as its content before compression; 0 if unknown.
    """
    rest = max(0, expected_bytes - _FIRST * SMALLEST_PART)
    return _sizes(_rounded(-(-rest // _EXPECTED)))


def ways(size: int, parts: int) -> Iterator[tuple[int, ...]]:
    """The sizes of an object's parts, as they may have been: which it was depends on what had been expected.

    Args:
        size: Its bytes.
        parts: In how many parts it was sent.
    """
    seen = set[tuple[int, ...]]()
    middle = SMALLEST_PART
    while middle <= LARGEST_PART:
        way = cut(size, _sizes(middle))
        if len(way) == parts and way not in seen:
            seen.add(way)
            yield way
        middle = _rounded(middle + 1)


def former_sizes(part: int) -> Iterator[int]:
    """As they were in the first backups: equal up to the 8,000th, then doubled with every 400."""
    doubling = (2 * part << (number // 400) for number in count())
    return (min(size, LARGEST_PART) for size in islice(chain(repeat(part, 8_000), doubling), MOST_PARTS))


def cut(size: int, sizes: Iterator[int]) -> tuple[int, ...]:
    """An object's parts: of these sizes, but for the last, which ends where the object does."""
    parts = list[int]()
    for each in sizes:
        if size <= each:
            return (*parts, size)
        parts.append(each)
        size -= each
    return tuple(parts)


def _rounded(size: int) -> int:
    """The next larger of the middle sizes there are, which are of whole MiB."""
    wanted = max(SMALLEST_PART // MiB, -(-size // MiB))
    step = 1 << max(0, (wanted // _STEPS).bit_length() - 1)
    return -(-wanted // step) * step * MiB


def _sizes(middle: int) -> Iterator[int]:
    doubling = (16 * middle << (number // _DOUBLED_EVERY) for number in count())
    steps = chain(repeat(SMALLEST_PART, _FIRST), repeat(middle, _MIDDLE), repeat(8 * middle, _LARGE), doubling)
    return (min(size, LARGEST_PART) for size in islice(steps, MOST_PARTS))
