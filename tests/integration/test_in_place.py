"""In place: nothing without the name, the old directory kept as it was, and killed at any point it can be run again."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ops_workflows.backup.take import take_backup
from ops_workflows.errors import RefusedError
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.postgres.processes import wait_until
from ops_workflows.repository.catalogue import open_repository
from ops_workflows.restore.in_place import plan_in_place, restore_in_place
from ops_workflows.restore.moment import AtLsn, Latest
from ops_workflows.settings import Settings
from tests.support.command import as_environment, ended, ops, started
from tests.support.continuous import Traffic, caught_up, receiving, values
from tests.support.servers import ScratchServer, scratch_server


@dataclass
class Lived:
    """A server with a past: `early` rows at `place`, `all` rows now."""

    server: ScratchServer
    settings: Settings
    place: Lsn
    early: set[int]
    all: set[int]

    @property
    def data_dir(self) -> Path:
        return self.server.server.data_dir

    def aside(self) -> list[Path]:
        return sorted(self.data_dir.parent.glob("data.before-*"))

    def rows(self) -> set[int]:
        with self.server.connect() as connection:
            return set(values(connection, "SELECT id FROM traffic"))


@pytest.fixture
def lived(settings: Settings) -> Iterator[Lived]:
    with scratch_server() as server:
        traffic = Traffic(server.dsn("postgres"))
        traffic.prepare()
        own = server.settings(settings, wal_flush_seconds=0.2, primary_data_dir=server.server.data_dir)
        with receiving(own, server):
            take_backup(own)
            with traffic.running():
                traffic.more(20)
            with server.connect() as connection:
                place = Lsn.parse(values(connection, "SELECT pg_current_wal_insert_lsn()::text")[0])
            early = traffic.ids()
            with traffic.running():
                traffic.more(20)
            caught_up(server)
        yield Lived(server, own, place, early, traffic.ids())


def fingerprint(folder: Path) -> dict[str, tuple[int, int]]:
    """What a data directory is made of, whatever its server may write while it stops."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, hash(path.read_bytes()))
        for path in folder.rglob("*")
        if path.is_file() and path.name != "postmaster.pid"
    }


def test_the_wrong_name_touches_nothing(lived: Lived, tmp_path: Path) -> None:
    before = {path.name for path in lived.data_dir.parent.iterdir()}
    done = ops(lived.settings, tmp_path, "restore", "--in-place", "--to", "latest", "--confirm", "panchangam")
    assert done.code != 0
    assert "type the database's name, postgres, to confirm." in done.sentence
    assert "restore database postgres in place" in done.err
    assert lived.server.server.is_ready()
    assert {path.name for path in lived.data_dir.parent.iterdir()} == before
    assert lived.rows() == lived.all


def test_unasked_and_unconfirmed_touches_nothing(lived: Lived, tmp_path: Path) -> None:
    done = ops(lived.settings, tmp_path, "restore", "--in-place", "--to", "latest")
    assert done.code != 0
    assert lived.server.server.is_ready()


def test_to_a_place_and_back(lived: Lived, tmp_path: Path) -> None:
    """The new one has what was there then; the old one is there byte for byte, and can be started."""
    lived.server.server.stop("fast")
    old = fingerprint(lived.data_dir)
    done = ops(lived.settings, tmp_path, "restore", "--in-place", "--to", str(lived.place), "--confirm", "postgres")
    assert done.code == 0, done
    lived.server.server.start()
    assert lived.rows() == lived.early
    lived.server.server.stop("fast")
    (aside,) = lived.aside()
    assert fingerprint(aside) == old
    assert {path.name for path in lived.data_dir.parent.iterdir()} == {"data", aside.name}
    lived.data_dir.rename(lived.data_dir.with_name("tried"))
    aside.rename(lived.data_dir)
    lived.server.server.start()
    assert lived.rows() == lived.all


def test_a_server_that_runs_is_stopped_first(lived: Lived) -> None:
    repository = open_repository(lived.settings)
    plan = plan_in_place(lived.settings, lived.data_dir, AtLsn(lived.place), None)
    assert plan.is_running
    restore_in_place(lived.settings, repository, plan, "postgres")
    assert not lived.server.server.running_processes()
    lived.server.server.start()
    assert lived.rows() == lived.early


def test_what_cannot_be_reached_leaves_the_old_one_where_it_was(lived: Lived) -> None:
    repository = open_repository(lived.settings)
    plan = plan_in_place(lived.settings, lived.data_dir, AtLsn(Lsn(2**40)), None)
    with pytest.raises(RefusedError, match="cannot be reached"):
        restore_in_place(lived.settings, repository, plan, "postgres")
    assert lived.aside() == []
    lived.server.server.start()
    assert lived.rows() == lived.all


def test_what_is_no_data_directory_is_refused(lived: Lived, tmp_path: Path) -> None:
    (tmp_path / "something").touch()
    with pytest.raises(RefusedError, match="is no PostgreSQL data directory"):
        plan_in_place(lived.settings, tmp_path, Latest(), None)


def test_a_foreign_folder_beside_it_is_not_overwritten(lived: Lived) -> None:
    foreign = lived.data_dir.with_name("data.new")
    foreign.mkdir()
    (foreign / "precious").touch()
    with pytest.raises(RefusedError, match="is not ours"):
        plan_in_place(lived.settings, lived.data_dir, Latest(), None)
    assert (foreign / "precious").exists()


def moments(data_dir: Path) -> dict[str, Callable[[], bool]]:
    new, run = data_dir.with_name("data.new"), data_dir.with_name("data.new.run")
    return {
        "extracting": (new / ".ops_restore_in_progress").exists,
        "extracted": (new / "PG_VERSION").exists,
        "recovering": (run / "server.log").exists,
        "recovered": lambda: data_dir.with_name("data.new.ready").exists(),
    }


@pytest.mark.parametrize("moment", ["extracting", "extracted", "recovering", "recovered", "moved aside"])
def test_killed_and_run_again(lived: Lived, tmp_path: Path, moment: str) -> None:
    """Wherever it was: the same command again brings it to its end, and the old directory is there."""
    command = ("restore", "--in-place", "--to", str(lived.place), "--confirm", "postgres")
    reached = moments(lived.data_dir)["recovered" if moment == "moved aside" else moment]
    with started("ops", *command, folder=tmp_path, env=as_environment(lived.settings)) as process:
        assert wait_until(lambda: reached() or process.poll() is not None, 60)
        kill(process)
        ended(process)
    new = lived.data_dir.with_name("data.new")
    if moment == "moved aside" and lived.data_dir.exists() and new.exists():
        # Between the two renames is a moment that no kill is quick enough for.
        lived.data_dir.rename(lived.data_dir.with_name("data.before-20260131T020000Z"))
    done = ops(lived.settings, tmp_path, *command)
    assert done.code == 0, done
    lived.server.server.start()
    assert lived.rows() == lived.early
    lived.server.server.stop("fast")
    assert not new.exists()
    # One that was killed when all was done has been carried out twice: the first that was moved aside is the old one.
    assert 1 <= len(lived.aside()) <= 2
    lived.data_dir.rename(lived.data_dir.with_name("tried"))
    lived.aside()[0].rename(lived.data_dir)
    lived.server.server.start()
    assert lived.rows() == lived.all


def kill(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
