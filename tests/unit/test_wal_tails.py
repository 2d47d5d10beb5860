"""The tails of a finished segment go, a predecessor's too; they are looked for only where there may be some."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops_workflows.backup.wal_shipper import WalShipper
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.postgres.processes import wait_until
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.layout import Layout
from ops_workflows.repository.wal import segment_key, tail_key
from ops_workflows.storage.folder import FolderStore
from ops_workflows.storage.objects import StoredObject
from tests.support.heard import Heard

SEGMENT = 1024 * 1024
FIRST, TAILED, LAST = 4, (6, 8), 9


class Listed(FolderStore):
    """A folder that knows what was listed."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.prefixes: list[str] = []

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        self.prefixes.append(prefix)
        return super().objects(prefix)


@pytest.fixture
def store(tmp_path: Path) -> Listed:
    return Listed(tmp_path)


def test_a_segment_that_comes_whole_replaces_the_tails_of_a_predecessor(store: Listed) -> None:
    repository = Repository(store, Layout("ops", "7711281658445912347"))
    tails = [tail_key(1, number * SEGMENT, number * SEGMENT + 100, SEGMENT) for number in (FIRST, *TAILED)]
    for tail in tails:
        store.put(repository.layout.wal + tail, b"x")
    awake, wake = os.pipe()
    shipper = WalShipper(
        repository,
        timeline=1,
        start=Lsn(FIRST * SEGMENT),
        segment_bytes=SEGMENT,
        level=1,
        progress=Heard(),
        wake=wake,
        tailed=[Lsn(number * SEGMENT) for number in TAILED],
    )
    try:
        shipper.add(Lsn(FIRST * SEGMENT), memoryview(bytes((LAST - FIRST) * SEGMENT)), None)
        assert wait_until(lambda: shipper.acknowledge() and shipper.flushed == shipper.received, 20)
    finally:
        shipper.close()
        os.close(awake)
        os.close(wake)
    listed = sorted(prefix.removeprefix(repository.layout.wal) for prefix in store.prefixes)
    assert listed == [f"{tail.rpartition('/')[0]}/" for tail in tails]
    stored = [found.key.removeprefix(repository.layout.wal) for found in store.objects("")]
    assert stored == [segment_key(1, number * SEGMENT, SEGMENT) for number in range(FIRST, LAST)]
