"""Programs as ends of a stream: failing, silent, deaf, or done early, none of them is left running."""

import time
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import psutil
import pytest

from ops_workflows.errors import DatabaseError
from ops_workflows.postgres.pipe import drain, feed

SHELL = Path("/bin/sh")
LARGE = b"x" * 1_000_000


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    before = set(psutil.Process().children(recursive=True))  # of other tests, or of who runs them
    yield
    assert set(psutil.Process().children(recursive=True)) <= before


def test_all_that_a_program_writes_is_handed_on() -> None:
    taken: list[bytes] = []
    ran = drain(SHELL, "-c", "head -c 3000000 /dev/zero; echo careful >&2", into=taken.append, stall_seconds=10)
    assert sum(map(len, taken)) == 3_000_000
    assert (ran.code, ran.complaint) == (0, ("careful",))


def test_the_exit_code_decides_even_when_everything_was_written() -> None:
    with pytest.raises(DatabaseError, match=r"sh failed \(exit code 3\):\n  why"):
        drain(SHELL, "-c", "echo all; echo why >&2; exit 3", into=lambda _: None, stall_seconds=10)


def test_a_program_that_falls_silent_is_ended() -> None:
    began = time.monotonic()
    with pytest.raises(DatabaseError, match="wrote nothing for 0 seconds and was ended"):
        drain(SHELL, "-c", "echo begun; sleep 60", into=lambda _: None, stall_seconds=0.3)
    assert time.monotonic() - began < 10


def test_what_the_taker_raises_ends_the_program() -> None:
    def refuse(_piece: bytes) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        drain(SHELL, "-c", "cat /dev/zero", into=refuse, stall_seconds=10)


def test_a_program_may_stop_reading_early_and_end_well_or_not() -> None:
    pieces = repeat(LARGE)
    assert feed(SHELL, "-c", "head -c 10 > /dev/null; echo done", source=pieces, timeout=10).out == "done\n"
    ran = feed(SHELL, "-c", "echo no >&2; exit 1", source=pieces, timeout=10)
    assert (ran.code, ran.complaint) == (1, ("no",))
    assert "exit code 1" in str(ran.failure("sh"))


def test_a_program_that_reads_nothing_is_ended_in_time() -> None:
    with pytest.raises(DatabaseError, match="was not done after 0 seconds"):
        feed(SHELL, "-c", "sleep 60", source=repeat(LARGE), timeout=0.3)
    with pytest.raises(DatabaseError, match="did not end in time"):
        feed(SHELL, "-c", "cat > /dev/null; sleep 60", source=iter([LARGE]), timeout=0.5)
