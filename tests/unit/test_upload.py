"""How big parts are: whatever was estimated, 10,000 suffice, and none is more than S3 takes."""

from hypothesis import example, given
from hypothesis import strategies as st

from ops_workflows.storage.upload import LARGEST_PART, MOST_PARTS, SMALLEST_PART, part_size, size_of_part

TiB = 1024**4


@given(size=st.integers(0, 5 * TiB), wrong=st.floats(1 / 3, 3))
@example(size=5_368_709_120_002, wrong=0.5)
@example(size=1_373_786_603_521, wrong=0.34375)
@example(size=5 * TiB, wrong=1 / 3)
@example(size=5 * TiB, wrong=3.0)
def test_ten_thousand_parts_suffice_even_when_the_estimate_is_wrong_by_three(size: int, wrong: float) -> None:
    base = part_size(int(size * wrong))
    sizes = [size_of_part(number, base) for number in range(1, MOST_PARTS + 1)]
    assert sum(sizes) >= size
    assert sizes == sorted(sizes)
    assert sizes[-1] <= LARGEST_PART


@given(st.integers(0, 5 * TiB))
def test_parts_are_neither_too_small_nor_odd(expected: int) -> None:
    base = part_size(expected)
    assert base >= SMALLEST_PART
    assert base % 1024**2 == 0
