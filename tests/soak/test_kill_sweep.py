"""Killed before and after every single call to the bucket: run again, it succeeds, and nothing is left over."""

from collections.abc import Iterator

import pytest

from ops_workflows.settings import Settings
from tests.support.doomed import Doomed, doomed
from tests.support.servers import ScratchServer
from tests.support.sweep import every_call, lived, sweep_server
from tests.support.sweep_parts import (
    BackingUp,
    CatchingUp,
    CatchingUpAtFirst,
    Drilling,
    Mirroring,
    Restoring,
    Retaining,
)

MEGABYTES = 20  # that no codec makes smaller: a backup has several parts
SEGMENTS = 24  # more than a restore fetches ahead: the last come while the server recovers


@pytest.fixture(scope="module")
def server() -> Iterator[ScratchServer]:
    with sweep_server(MEGABYTES) as made:
        yield made


@pytest.fixture(scope="module")
def ops(settings: Settings) -> Iterator[Doomed]:
    with doomed(settings) as made:
        yield made


@pytest.mark.parametrize("kind", ["full", "incremental"])
def test_backup(server: ScratchServer, settings: Settings, ops: Doomed, kind: str) -> None:
    with lived(server, settings) as own:
        every_call(BackingUp(own, "--kind", kind), ops)


@pytest.mark.parametrize("part", [CatchingUp, CatchingUpAtFirst, Drilling, Retaining, Mirroring])
def test_part(server: ScratchServer, settings: Settings, ops: Doomed, part: type[CatchingUp]) -> None:
    with lived(server, settings) as own:
        every_call(part(own), ops)


def test_restore(server: ScratchServer, settings: Settings, ops: Doomed) -> None:
    with lived(server, settings, segments=SEGMENTS) as own:
        every_call(Restoring(own), ops)
