import threading
from collections.abc import Iterator

import pytest

from ops_workflows.postgres.processes import wait_until
from ops_workflows.storage.ahead import ahead


def test_everything_arrives_in_order() -> None:
    with ahead(iter(range(1000)), 3) as items:
        assert list(items) == list(range(1000))


def test_what_is_raised_is_raised_to_the_reader_after_what_came_before() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    with ahead(failing(), 3) as items, pytest.raises(ValueError, match="broken"):
        list(items)
    with ahead(failing(), 3) as items:
        assert next(iter(items)) == 1


def test_the_producer_stays_within_its_bound() -> None:
    made: list[int] = []

    def counting() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    with ahead(counting(), 4) as items:
        next(iter(items))
        assert wait_until(lambda: len(made) >= 6, 5)
        assert not wait_until(lambda: len(made) > 7, 0.3)


def test_leaving_early_leaves_no_thread() -> None:
    before = threading.active_count()
    with ahead(iter(range(10**9)), 2) as items:
        next(iter(items))
    assert threading.active_count() == before


def test_one_stage_over_another_and_an_error_from_the_first() -> None:
    def failing() -> Iterator[int]:
        yield from range(10)
        raise OSError("the first")

    before = threading.active_count()
    with (
        pytest.raises(OSError, match="the first"),
        ahead(failing(), 2) as first,
        ahead((item * 2 for item in first), 2) as second,
    ):
        list(second)
    assert threading.active_count() == before
