"""How big parts are, whatever was expected, and how many bytes an upload holds, whatever is stored."""

import time
from collections.abc import Sequence
from itertools import accumulate

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ops_workflows.errors import StorageError
from ops_workflows.storage.objects import StoredPart
from ops_workflows.storage.parts import (
    LARGEST_PART,
    MOST_PARTS,
    SMALLEST_PART,
    MiB,
    cut,
    former_sizes,
    part_sizes,
    ways,
)
from ops_workflows.storage.upload import Upload
from tests.support.slow_store import SlowStore

TB = 10**12
TiB = 1024**4
SMALLEST_OF_S3 = 5 * MiB
HELD = 48 * MiB


@given(st.integers(0, 20 * TiB))
@example(0)
@example(10 * TiB)
def test_ten_thousand_parts_hold_the_largest_object_whatever_was_expected(expected: int) -> None:
    sizes = list(part_sizes(expected))
    assert len(sizes) == MOST_PARTS
    assert sum(sizes) >= 5 * TiB
    assert sizes == sorted(sizes)
    assert SMALLEST_OF_S3 <= sizes[0] == SMALLEST_PART
    assert sizes[-1] <= LARGEST_PART
    assert all(size % MiB == 0 for size in sizes)


@given(st.integers(0, 5 * TiB))
def test_what_is_expected_fits_in_parts_that_have_not_begun_to_double(expected: int) -> None:
    sizes = list(part_sizes(expected))
    held = dict(zip(accumulate(sizes), sizes, strict=True))
    last = next(size for end, size in held.items() if end >= expected * 1.1)
    assert last <= 8 * sizes[400]
    third = next(size for end, size in held.items() if end >= expected * 0.32)
    assert third <= sizes[400] <= max(SMALLEST_PART, expected / 20_000 * 1.125 + MiB)


@settings(max_examples=40, deadline=None)
@given(size=st.integers(0, 5 * TiB), expected=st.integers(0, 5 * TiB))
@example(size=10_000_000_000, expected=TB)
@example(size=3_400_000_000, expected=TB)
def test_the_parts_of_an_object_are_among_those_that_its_mirror_tries(size: int, expected: int) -> None:
    parts = cut(size, part_sizes(expected))
    possible = list(ways(size, len(parts)))
    assert parts in possible
    assert len(possible) <= 8 or len(parts) < 410
    assert all(sum(way) == size and len(way) == len(parts) for way in possible)


def test_a_small_object_was_sent_in_one_way_only() -> None:
    for size in (1, SMALLEST_PART, SMALLEST_PART + 1, 400 * SMALLEST_PART):
        (only,) = ways(size, len(cut(size, part_sizes(TB))))
        assert set(only[:-1]) <= {SMALLEST_PART}


def test_parts_of_the_first_backups_are_still_known() -> None:
    sizes = list(former_sizes(120 * MiB))
    assert len(sizes) == MOST_PARTS
    assert (sizes[0], sizes[7_999], sizes[8_000], sizes[8_399], sizes[8_400]) == tuple(
        part * MiB for part in (120, 120, 240, 240, 480)
    )


def most_held(store: SlowStore, sizes: Sequence[int], parts: int, threads: int = 4) -> int:
    """Send so many parts; the most bytes that had been written and not been taken yet."""
    piece, written, most = bytes(MiB), 0, 0
    with Upload(store, "key", threads=threads, sizes=sizes) as upload:
        for _ in range(sum(sizes[:parts]) // len(piece)):
            upload.write(piece)
            written += len(piece)
            most = max(most, written - store.taken)
        upload.finish()
    return most


def sizes_at(stored: float, expected: int) -> list[int]:
    """The sizes of the parts that follow when so much has been stored."""
    sizes = list(part_sizes(expected))
    return sizes[next(number for number, end in enumerate(accumulate(sizes)) if end >= stored) :]


@pytest.mark.parametrize("compressed_to", [0.002, 0.1, 0.32])
def test_a_terabyte_is_sent_within_48_mib(compressed_to: float) -> None:
    """With what compression leaves of nearly every database. Of what it leaves whole, one part is held at a time."""
    assert 0 < most_held(SlowStore(), sizes_at(compressed_to * TB, TB), 4) <= HELD
    assert {sizes_at(stored * TB, TB)[0] for stored in (0.4, 0.7, 1, 1.1)} == {384 * MiB}


@pytest.mark.parametrize(
    ("size", "threads", "at_once", "held"),
    [(8, 4, 4, 40), (16, 4, 3, 48), (40, 4, 1, 48), (56, 4, 1, 56), (8, 9, 9, 80)],
)
def test_parts_are_sent_at_once_as_far_as_there_is_room_for_them(
    size: int, threads: int, at_once: int, held: int
) -> None:
    store, parts = SlowStore(until=at_once), at_once + 3
    assert most_held(store, [size * MiB] * parts, parts, threads) <= held * MiB
    assert store.most_at_once == at_once


def test_a_part_that_cannot_be_stored_is_told_to_whoever_waits_for_room() -> None:
    tried = []

    class Full(SlowStore):
        def put_part(self, *_: object, **__: object) -> StoredPart:
            tried.append(time.sleep(0.1))
            raise StorageError("There is no room.")

    with pytest.raises(StorageError, match="There is no room"):
        most_held(Full(), [HELD] * 10, 10)
    assert len(tried) == 1


def test_there_is_an_end_to_what_an_object_holds() -> None:
    with Upload(SlowStore(), "key", threads=1, sizes=[1, 1]) as upload:
        upload.write(b"ab")
        with pytest.raises(StorageError, match=r"key is larger than the 10,000 parts .* tablespaces"):
            upload.write(b"c")
