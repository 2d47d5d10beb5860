"""Each part killed before and after each kind of call to the bucket; run again, it succeeds, and nothing is left over.

`make soak` does it at every single call. What a sort of call is, the calls of a run that nothing happens to tell.
"""

from collections.abc import Iterator

import pytest

from ops_workflows.settings import Settings
from tests.support.doomed import Doomed, doomed
from tests.support.servers import ScratchServer
from tests.support.sweep import Sweep, every_kind, lived, sweep_server
from tests.support.sweep_parts import (
    BackingUp,
    CatchingUp,
    CatchingUpAtFirst,
    Drilling,
    Mirroring,
    Restoring,
    Retaining,
)

SEGMENTS = 24  # more than a restore fetches ahead: the last come while the server recovers


@pytest.fixture(scope="module")
def server() -> Iterator[ScratchServer]:
    with sweep_server() as made:
        yield made


@pytest.fixture(scope="module")
def ops(settings: Settings) -> Iterator[Doomed]:
    with doomed(settings) as made:
        yield made


def test_backup(server: ScratchServer, settings: Settings, ops: Doomed) -> None:
    with lived(server, settings) as own:
        every_kind(BackingUp(own, "--kind", "incremental"), ops)


def test_wal(server: ScratchServer, settings: Settings, ops: Doomed) -> None:
    with lived(server, settings) as own:
        every_kind(CatchingUp(own), ops)
        Sweep(Restoring(own), ops).whole()  # which finds every row that was committed meanwhile


def test_wal_at_first(server: ScratchServer, settings: Settings, ops: Doomed) -> None:
    with lived(server, settings) as own:
        every_kind(CatchingUpAtFirst(own), ops)


@pytest.mark.parametrize("segments", [2, SEGMENTS])
def test_restore(server: ScratchServer, settings: Settings, ops: Doomed, segments: int) -> None:
    with lived(server, settings, segments=segments) as own:
        every_kind(Restoring(own), ops)


def test_drill(server: ScratchServer, settings: Settings, ops: Doomed) -> None:
    with lived(server, settings) as own:
        every_kind(Drilling(own), ops)


def test_retention(server: ScratchServer, settings: Settings, ops: Doomed) -> None:
    with lived(server, settings) as own:
        every_kind(Retaining(own), ops)


def test_mirror(server: ScratchServer, settings: Settings, ops: Doomed) -> None:
    with lived(server, settings) as own:
        every_kind(Mirroring(own, all_sorts=False), ops)
