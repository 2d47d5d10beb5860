"""What a restore in place says of the log that the bucket lacks."""

import re

import pytest

from ops_workflows.postgres.lsn import Lsn
from ops_workflows.repository.reach import Reach
from ops_workflows.restore.old_log import OldLog, left_behind
from tests.support.records import backup

END = 0x5000000


def log(**more: object) -> OldLog:
    usual = {"system": "1", "timeline": 1, "end": Lsn(END + 1500), "is_exact": True}
    return OldLog(**(usual | more))  # type: ignore[arg-type]


def reach(timeline: int = 1) -> Reach:
    return Reach(backup(), timeline, (), Lsn(END), None)


@pytest.mark.parametrize(
    ("of", "running", "says"),
    [
        (None, True, "cannot be told"),
        (log(acknowledged=Lsn(END)), True, "the receiver that streams from that server ships its last WAL"),
        (log(acknowledged=Lsn(END + 1)), True, "no receiver ships that server's last WAL into the bucket"),
        (log(), True, "1,500 bytes of WAL so far"),
        (log(end=Lsn(END - 1)), True, "0 bytes of WAL so far"),
        (log(), False, "lacks the last 1,500 bytes of WAL, to 0/50005DC"),
        (log(end=Lsn(END)), False, "the bucket has all"),
        (log(is_exact=False), False, "has ended without a shutdown.*1,500 bytes of WAL or more"),
        (log(end=Lsn(END), is_exact=False), False, "has ended without a shutdown.*0 bytes of WAL or more"),
        (log(timeline=2, acknowledged=Lsn(END)), True, "on timeline 2, the bucket's newest is 1"),
    ],
)
def test_what_stays_behind(of: OldLog | None, running: bool, says: str) -> None:
    assert re.search(says, left_behind(of, reach(), running=running))


def test_what_is_whole() -> None:
    assert log(end=Lsn(END)).is_whole_in(reach())
    assert not log(end=Lsn(END), is_exact=False).is_whole_in(reach())
    assert not log(end=Lsn(END)).is_whole_in(reach(2))
