"""The restore drill: it measures, holds against the objectives, and leaves nothing, not even when it is killed."""

import json
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from ops_workflows.backup.take import take_backup
from ops_workflows.postgres.processes import wait_until
from ops_workflows.postgres.server import DataDirectory
from ops_workflows.repository.backup import utc_now
from ops_workflows.repository.canaries import Canary, note
from ops_workflows.repository.catalogue import open_repository
from ops_workflows.repository.drills import DRILL, drill_ids, drills
from ops_workflows.repository.proofs import newest
from ops_workflows.settings import Settings
from tests.support.command import as_environment, ended, ops_here, started
from tests.support.killing import ended_at
from tests.support.servers import ScratchServer, fill_with_noise, reachable_folder, scratch_server, with_heartbeats


@pytest.fixture(scope="module")
def server() -> Iterator[ScratchServer]:
    with scratch_server() as made:
        fill_with_noise(made, 10)
        with_heartbeats(made, timedelta(hours=1), timedelta(seconds=90))
        yield made


@pytest.fixture(scope="module")
def backed_up(server: ScratchServer, settings: Settings) -> Settings:
    own = server.settings(settings)
    take_backup(own)
    return own


@pytest.fixture
def own(backed_up: Settings) -> Iterator[Settings]:
    with reachable_folder() as folder:
        yield backed_up.model_copy(update={"scratch_dir": folder / "scratch"})


def test_a_drill_within_its_objectives(own: Settings, server: ScratchServer, tmp_path: Path) -> None:
    done = ops_here(own, tmp_path, "drill", "--json")
    assert done.code == 0, done
    assert done.err == ""
    figures = json.loads(done.out)
    assert figures["passed"] is True
    assert 0 < figures["rto_seconds"] < 60
    assert 90 <= figures["rpo_seconds"] < 600
    assert list(own.scratch.iterdir()) == []
    repository = open_repository(own, server.system)
    assert newest(repository, [figures["backup_id"]])[figures["backup_id"]]["drill"].passed


def test_objectives_that_are_missed(own: Settings, tmp_path: Path) -> None:
    done = ops_here(own.model_copy(update={"rpo_objective_seconds": 1}), tmp_path, "drill")
    assert done.code == 1
    assert "✓" in done.out
    assert " 1 s promised" in done.out
    assert "✗" in done.out
    assert list(own.scratch.iterdir()) == []


def test_without_a_heartbeat_the_recovery_point_is_unknown_and_not_met(settings: Settings, tmp_path: Path) -> None:
    with scratch_server() as server, reachable_folder() as folder:
        own = server.settings(settings, scratch_dir=folder / "scratch")
        take_backup(own)
        done = ops_here(own, tmp_path, "drill")
    assert done.code == 1
    assert "must write to ops.heartbeat" in " ".join(done.out.split())


def test_rows_of_a_clock_that_was_ahead_tell_neither_an_age_nor_a_moment(settings: Settings, tmp_path: Path) -> None:
    with scratch_server() as server, reachable_folder() as folder:
        with_heartbeats(server, -timedelta(days=365))
        own = server.settings(settings, scratch_dir=folder / "scratch")
        backup = take_backup(own)
        ahead = utc_now() + timedelta(days=365)
        note(open_repository(own, server.system), Canary(ahead, ahead, 1, backup.stop_lsn, "0" * 16))
        done = ops_here(own, tmp_path, "drill", "--json")
    found = {each["name"]: each for each in json.loads(done.out)["checks"]}
    assert done.code == 1
    assert found["exact"]["passed"] is True, found
    assert found["rpo"]["passed"] is False
    assert "no row is older" in found["rpo"]["finding"]


def test_a_random_moment_that_no_canaries_surround_is_not_shown(
    settings: Settings, server: ScratchServer, own: Settings, tmp_path: Path
) -> None:
    without = server.settings(settings, scratch_dir=own.scratch, upkeep_dsn=None)
    backup = take_backup(without)
    done = ops_here(without, tmp_path, "drill", "--json")
    assert done.code == 1
    found = {each["name"]: each["passed"] for each in json.loads(done.out)["checks"]}
    assert found == {"rto": True, "rpo": True, "booted": True, "exact": False, "sound": True, "smoke": None}
    assert "no canaries surround any moment of the window" in done.out
    shown = newest(open_repository(without, server.system), [backup.id])[backup.id]
    assert "exact" not in shown, "nothing was shown of the backup, for or against it"
    assert not shown["drill"].passed


def test_a_drill_after_one_whose_record_is_damaged(own: Settings, server: ScratchServer, tmp_path: Path) -> None:
    assert ops_here(own, tmp_path, "drill").code == 0
    repository = open_repository(own, server.system)
    torn = f"{repository.layout.drills}{drill_ids(repository)[-1]}/{DRILL}"
    kept = repository.store.get(torn)
    repository.store.put(torn, kept[:100])
    try:
        done = ops_here(own, tmp_path, "drill", "--report", tmp_path / "page.html")
        assert done.code == 0, done
        assert f"{torn} cannot be read" in done.sentence
        assert drill_ids(repository)[-1] == drills(repository)[-1].id
        assert "RPO now" in ops_here(own, tmp_path, "status").out
    finally:
        repository.store.put(torn, kept)


def test_killed_while_it_fetches(own: Settings, tmp_path: Path) -> None:
    assert ended_at(own, tmp_path, lambda call: "GET" in call and "base.tar" in call, "ops", "drill").acted
    (left,) = own.scratch.iterdir()
    done = ops_here(own, tmp_path, "drill")
    assert done.code == 0, done
    assert f"Removed {left}, left by a restore that was killed." in done.err
    assert list(own.scratch.iterdir()) == []


def test_killed_while_its_server_runs(own: Settings, tmp_path: Path) -> None:
    def servers() -> list[psutil.Process]:
        folders = list(own.scratch.iterdir()) if own.scratch.exists() else []
        return [process for folder in folders for process in DataDirectory(folder / "data").running_processes()]

    with started("ops", "drill", folder=tmp_path, env=as_environment(own)) as process:
        assert wait_until(lambda: bool(servers()) or process.poll() is not None, 60)
        process.kill()
        assert ended(process).code == -9
    left = servers()
    assert left, "the drill was over too soon for this test"
    done = ops_here(own, tmp_path, "drill")
    assert done.code == 0, done
    # One that has ended and that nobody has taken note of yet is no server any more.
    assert not [each for each in left if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
    assert list(own.scratch.iterdir()) == []


def test_a_drill_that_runs_is_not_taken_for_a_dead_one(own: Settings, tmp_path: Path) -> None:
    from ops_workflows.restore.scratch import scratch  # noqa: PLC0415

    with scratch(own, 18) as folder:
        (folder / "data").mkdir()
        shutil.rmtree(folder / "data")
        done = ops_here(own, tmp_path, "drill")
        assert done.code == 0, done
        assert folder.is_dir()
    assert list(own.scratch.iterdir()) == []
