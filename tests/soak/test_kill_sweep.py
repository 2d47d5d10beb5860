"""Killed before and after every single call to storage, in turn: run again, it succeeds, and nothing is left over."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ops_workflows.backup.canary import plant
from ops_workflows.backup.take import take_backup
from ops_workflows.backup.wal_receiver import catch_up
from ops_workflows.repository.catalogue import Repository, open_repository
from ops_workflows.repository.layout import RECORD
from ops_workflows.repository.retention_facts import plan_retention
from ops_workflows.settings import Settings
from tests.integration.test_mirror import holdings
from tests.support.bucket import backup_keys, pending
from tests.support.command import ops_here
from tests.support.continuous import slot_at, wal_listing, write_wal
from tests.support.killing import ended_at
from tests.support.proxy import nth
from tests.support.servers import ScratchServer, fill_with_noise, reachable_folder, scratch_server, with_heartbeats

pytestmark = pytest.mark.timeout(3600)
FEWEST = {"backup": 10, "restore": 6, "drill": 12, "mirror": 10, "retention": 10, "wal": 4}


@dataclass(frozen=True)
class Lived:
    """A server that is backed up, with its log and its canaries in the bucket."""

    server: ScratchServer
    settings: Settings

    @property
    def repository(self) -> Repository:
        return open_repository(self.settings, self.server.system)


@pytest.fixture
def lived(settings: Settings) -> Iterator[Lived]:
    with scratch_server() as server, reachable_folder() as folder:
        fill_with_noise(server, 12)
        with_heartbeats(server)
        own = server.settings(
            settings, scratch_dir=folder / "scratch", s3_attempts=1, keep_debris_hours=0, keep_daily=1, keep_weekly=0,
            keep_monthly=0,
        )  # fmt: skip
        catch_up(own, 60)
        take_backup(own)
        plant(own)
        plant(own)
        catch_up(own, 60)
        yield Lived(server, own)


def sweep(
    lived: Lived, folder: Path, *command: str, before: Callable[[], None] = lambda: None, after: Callable[[], None]
) -> None:
    for answered in (False, True):
        moment = 0
        while True:
            before()
            done = ended_at(lived.settings, folder, nth(moment), "ops", *command, answered=answered)
            if not done.acted:
                break
            again = ops_here(lived.settings, folder, *command)
            assert again.code == 0 or "is not empty" in again.err, (answered, moment, done.seen[-1], again)
            after()
            moment += 1
        assert moment >= FEWEST[command[0]], (answered, moment)


def no_debris(lived: Lived) -> None:
    whole = {key.split("/")[-2] for key in backup_keys(lived.settings) if key.endswith(f"/{RECORD}")}
    assert {key.split("/")[-2] for key in backup_keys(lived.settings)} == whole
    assert pending(lived.settings) == []


def test_backup(lived: Lived, tmp_path: Path) -> None:
    sweep(lived, tmp_path, "backup", after=lambda: no_debris(lived))


def test_restore(lived: Lived) -> None:
    with reachable_folder() as folder:

        def whole() -> None:
            # Whoever was killed with all done, but for the end of its lease, has left a whole database: it is kept.
            assert (folder / "data/global/pg_control").exists()
            assert {entry.name for entry in folder.iterdir()} <= {"data", "data.run"}
            for entry in folder.iterdir():
                shutil.rmtree(entry)

        sweep(lived, folder, "restore", "--target-dir", str(folder / "data"), after=whole)


def test_drill(lived: Lived, tmp_path: Path) -> None:
    def gone() -> None:
        assert list(lived.settings.scratch.iterdir()) == []

    sweep(lived, tmp_path, "drill", after=gone)


def test_wal(lived: Lived, tmp_path: Path) -> None:
    def no_gap() -> None:
        acknowledged = slot_at(lived.server)
        (only,) = wal_listing(lived.repository).ranges()
        assert only.end >= acknowledged

    sweep(lived, tmp_path, "wal", "catch-up", before=lambda: write_wal(lived.server, 18 * 2**20), after=no_gap)


def test_mirror(lived: Lived, tmp_path: Path) -> None:
    numbers = iter(range(10_000))
    lived = Lived(lived.server, lived.settings.model_copy(update={"mirror_url": "s3://never/used"}))

    def elsewhere() -> None:
        url = f"s3://{lived.settings.s3_bucket}/{lived.settings.s3_prefix}_second_{next(numbers)}"
        object.__setattr__(lived, "settings", lived.settings.model_copy(update={"mirror_url": url}))

    def the_same() -> None:
        copy = lived.settings.mirrored()
        assert copy is not None
        first, second = (holdings(open_repository(each, lived.server.system)) for each in (lived.settings, copy))
        assert first.backups == second.backups
        assert first.objects.keys() == second.objects.keys()

    sweep(lived, tmp_path, "mirror", before=elsewhere, after=the_same)


def test_retention(lived: Lived, tmp_path: Path) -> None:
    def another() -> None:
        take_backup(lived.settings)

    def done() -> None:
        assert not plan_retention(lived.settings, lived.repository).gone
        no_debris(lived)

    sweep(lived, tmp_path, "retention", "--apply", before=another, after=done)
