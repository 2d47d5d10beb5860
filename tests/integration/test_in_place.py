"""In place: nothing without the name, the old directory kept as it was, and killed at any point it can be run again."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ops_workflows.backup.wal_status import wal_status
from ops_workflows.errors import ConfigurationError, IntegrityError, RefusedError
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.postgres.processes import wait_until
from ops_workflows.restore.beside import Beside
from ops_workflows.restore.in_place import restore_in_place
from ops_workflows.restore.in_place_plan import plan_in_place
from ops_workflows.restore.moment import AtLsn, AtName, AtTime, Latest, Moment
from ops_workflows.settings import Settings
from tests.support.bucket import change, flipped, named, put_back
from tests.support.command import as_environment, ended, ops, started
from tests.support.continuous import caught_up, commit_times, receiving, rows_at
from tests.support.killed_at import killed_at
from tests.support.lived import Lived, lived_server
from tests.support.servers import reachable_folder, scratch_server


@pytest.fixture
def lived(settings: Settings) -> Iterator[Lived]:
    with lived_server(settings) as made:
        yield made


def fingerprint(folder: Path) -> dict[str, tuple[int, int]]:
    """What a data directory is made of, whatever its server may write while it stops."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, hash(path.read_bytes()))
        for path in folder.rglob("*")
        if path.is_file() and path.name != "postmaster.pid"
    }


def test_the_wrong_name_touches_nothing(lived: Lived, tmp_path: Path) -> None:
    before = lived.names()
    done = ops(lived.settings, tmp_path, "restore", "--in-place", "--to", "latest", "--confirm", "panchangam")
    assert done.code != 0
    assert "type the database's name, postgres, to confirm." in done.sentence
    assert "restore database postgres in place" in done.err
    unasked = ops(lived.settings, tmp_path, "restore", "--in-place", "--to", "latest")
    assert unasked.code != 0
    assert lived.server.server.is_ready()
    assert lived.names() == before
    assert lived.rows() == lived.all


def test_to_a_place_and_back(lived: Lived, tmp_path: Path) -> None:
    """The new one has what was there then; the old one is there byte for byte, and can be started."""
    lived.server.server.stop("fast")
    old = fingerprint(lived.data_dir)
    done = ops(lived.settings, tmp_path, "restore", "--in-place", "--to", str(lived.place), "--confirm", "postgres")
    assert done.code == 0, done
    assert lived.started() == lived.early
    (aside,) = lived.aside()
    assert fingerprint(aside) == old
    assert lived.names() == {"data", aside.name}
    assert lived.put_back() == lived.all


def test_what_cannot_be_done_stops_nothing(lived: Lived, tmp_path: Path) -> None:
    before = lived.names()
    command = ("restore", "--in-place", "--confirm", "postgres", "--to")
    for moment in ("2020-01-01T00:00:00Z", str(Lsn(2**40))):
        done = ops(lived.settings, tmp_path, *command, moment)
        assert done.code == 1
        assert "cannot be reached" in done.sentence
    wanted: tuple[tuple[bool, Moment], ...] = ((True, AtName("nowhere")), (False, AtLsn(lived.place)))
    for uncertain, place in wanted:
        said = "\n".join(plan_in_place(lived.settings, lived.repository, lived.data_dir, place).describe())
        assert ("only replay can tell" in said) == uncertain
    elsewhere = lived.settings.model_copy(update={"pg_bin_dir": tmp_path})
    plan = plan_in_place(lived.settings, lived.repository, lived.data_dir, Latest())
    for attempt in (
        lambda: plan_in_place(elsewhere, lived.repository, lived.data_dir, Latest()),
        lambda: restore_in_place(elsewhere, lived.repository, plan, "postgres"),
    ):
        with pytest.raises(ConfigurationError, match="OPS_PG_BIN_DIR"):
            attempt()
    assert lived.server.server.is_ready()
    assert lived.names() == before


def test_a_failure_gives_the_old_one_back(lived: Lived) -> None:
    plan = plan_in_place(lived.settings, lived.repository, lived.data_dir, AtLsn(lived.place))
    assert plan.is_running
    key = lived.repository.layout.backup(plan.route.backup.id, named(plan.route.backup, "base.tar"))
    whole = lived.repository.store.get(key)
    change(lived.repository, key, flipped)
    with pytest.raises(IntegrityError):
        restore_in_place(lived.settings, lived.repository, plan, "postgres")
    put_back(lived.repository, key, whole)
    assert not lived.server.server.running_processes()
    assert lived.aside() == []
    assert not Beside(lived.data_dir).held()
    assert lived.started() == lived.all
    plan = plan_in_place(lived.settings, lived.repository, lived.data_dir, AtLsn(lived.place))
    restore_in_place(lived.settings, lived.repository, plan, "postgres")
    assert lived.started() == lived.early


def test_what_is_no_data_directory_of_that_cluster_is_refused(lived: Lived, tmp_path: Path) -> None:
    (tmp_path / "something").touch()
    with pytest.raises(RefusedError, match="is no PostgreSQL data directory"):
        plan_in_place(lived.settings, lived.repository, tmp_path, Latest())
    with scratch_server() as other, pytest.raises(RefusedError, match=f"is of cluster {other.system} and the backups"):
        plan_in_place(lived.settings, lived.repository, other.server.data_dir, Latest())
    plan = plan_in_place(lived.settings, lived.repository, lived.server.folder / "gone", Latest())
    assert f"leave alone the server of this cluster that answers {plan.elsewhere}" in "\n".join(plan.describe())


def test_a_foreign_folder_beside_it_is_not_overwritten(lived: Lived) -> None:
    foreign = lived.data_dir.with_name("data.new")
    foreign.mkdir()
    (foreign / "precious").touch()
    with pytest.raises(RefusedError, match="is not ours"):
        plan_in_place(lived.settings, lived.repository, lived.data_dir, Latest())
    assert (foreign / "precious").exists()


def test_one_at_a_time(lived: Lived) -> None:
    plan = plan_in_place(lived.settings, lived.repository, lived.data_dir, Latest())
    with Beside(lived.data_dir).alone():
        with pytest.raises(RefusedError, match="is at work: wait for its end"):
            plan_in_place(lived.settings, lived.repository, lived.data_dir, Latest())
        with pytest.raises(RefusedError, match="is at work: wait for its end"):
            restore_in_place(lived.settings, lived.repository, plan, "postgres")
    assert lived.server.server.is_ready()
    assert lived.names() == {"data"}


def test_interrupted_it_gives_the_old_one_back(lived: Lived, tmp_path: Path) -> None:
    command = ("restore", "--in-place", "--to", str(lived.place), "--confirm", "postgres")
    with started("ops", *command, folder=tmp_path, env=as_environment(lived.settings)) as process:
        assert wait_until(moments(lived.data_dir)["extracting"], 60)
        process.send_signal(signal.SIGTERM)
        done = ended(process)
    assert done.code == 128 + signal.SIGTERM, done
    assert "The old data directory can be started again." in done.err
    assert not Beside(lived.data_dir).lock.exists()
    assert lived.started() == lived.all


def moments(data_dir: Path) -> dict[str, Callable[[], bool]]:
    new, running = data_dir.with_name("data.new"), data_dir.with_name("data.new.run")
    return {
        "extracting": (new / ".ops_restore_in_progress").exists,
        "extracted": (new / "PG_VERSION").exists,
        "recovering": (running / "server.log").exists,
    }


def killed_when(lived: Lived, folder: Path, moment: str, *command: str) -> None:
    """Run a command and kill it at a moment that is seen from outside."""
    reached = moments(lived.data_dir)[moment]
    with started("ops", *command, folder=folder, env=as_environment(lived.settings)) as process:
        assert wait_until(lambda: reached() or process.poll() is not None, 60)
        kill(process)
        ended(process)


def kill(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("moment", ["extracting", "extracted", "recovering", "recovered", "moved aside", "moved in"])
def test_killed_and_run_again(lived: Lived, tmp_path: Path, moment: str) -> None:
    """Wherever it was: the same command again brings it to its end, and the old directory is there."""
    command = ("restore", "--in-place", "--to", str(lived.place), "--confirm", "postgres")
    if moment in moments(lived.data_dir):
        killed_when(lived, tmp_path, moment, *command)
    else:
        killed_at(lived.settings, "The old data directory" if moment == "moved in" else "put in place", *command)
    if moment == "moved aside":
        # Between the two renames is a moment that no kill is quick enough for.
        lived.data_dir.rename(lived.data_dir.with_name("data.before-20260131T020000Z"))
    done = ops(lived.settings, tmp_path, *command)
    assert done.code == 0, done
    recovered = moment in {"recovered", "moved aside", "moved in"}
    assert ("fetch and extract" in done.err) != recovered
    assert ("An earlier run had put it in place" in done.err) == (moment == "moved in")
    assert lived.started() == lived.early
    (aside,) = lived.aside()
    assert lived.names() == {"data", aside.name}
    assert lived.put_back() == lived.all


def test_killed_and_given_up(lived: Lived, tmp_path: Path) -> None:
    """What was killed says how to go back; and what was recovered then is not taken for the latest after that."""
    command = ("restore", "--in-place", "--confirm", "postgres", "--to")
    killed_at(lived.settings, "put in place", *command, "latest")
    other = ops(lived.settings, tmp_path, *command, str(lived.place))
    assert other.code == 1
    assert "An earlier run has recovered" in other.sentence
    old, new = lived.data_dir / "global/pg_control.held_by_ops_restore", lived.data_dir / "global/pg_control"
    assert f"to start {lived.data_dir} as it was, rename {old} to pg_control" in other.sentence
    assert str(old) in lived.data_dir.with_name("data.new.unfinished").read_text()
    old.rename(new)
    lived.server.server.start()
    with receiving(lived.settings, lived.server):
        with lived.traffic.running():
            lived.traffic.more(20)
        caught_up(lived.server)
        again = ops(lived.settings, tmp_path, *command, "latest")
    assert again.code == 0, again
    assert "fetch and extract" in again.err
    assert lived.started() == lived.traffic.ids() > lived.all


def test_done_but_for_its_marks_and_overtaken(lived: Lived, tmp_path: Path) -> None:
    """A server that ran on after a run that was killed at its very end is not taken for what that run recovered."""
    command = ("restore", "--in-place", "--confirm", "postgres", "--to", "latest")
    killed_at(lived.settings, "The old data directory", *command)
    assert Beside(lived.data_dir).ready.exists()
    lived.server.server.start()
    with receiving(lived.settings, lived.server):
        with lived.traffic.running():
            lived.traffic.more(20)
        caught_up(lived.server)
        again = ops(lived.settings, tmp_path, *command)
    assert again.code == 0, again
    assert "An earlier run" not in again.err
    assert lived.started() == lived.traffic.ids() > lived.all
    assert len(lived.aside()) == 2
    assert not Beside(lived.data_dir).held()


def test_gone_back_too_far_and_then_back_again(lived: Lived, tmp_path: Path) -> None:
    """What a recovery has taken back is to be had by its time; and a branch that was given up is not the latest."""
    times = commit_times(lived.server)
    late = sorted(times[row] for row in lived.all - lived.early)
    before, after = late[len(late) // 2 : len(late) // 2 + 2]
    taken_back = AtTime(before + (after - before) / 2)
    there_then = {row for row, at in times.items() if at <= taken_back.time}
    assert lived.early < there_then < lived.all

    done = ops(lived.settings, tmp_path, "restore", "--in-place", "--to", str(lived.place), "--confirm", "postgres")
    assert done.code == 0, done
    lived.server.server.start()
    with receiving(lived.settings, lived.server):
        with lived.traffic.running():
            lived.traffic.more(20)
        caught_up(lived.server)
    with reachable_folder() as folder:
        assert rows_at(lived.settings, lived.repository, taken_back, folder / "then") == there_then
        assert rows_at(lived.settings, lived.repository, Latest(), folder / "latest") == lived.rows()

    lived.server.server.stop("fast")
    assert lived.put_back() == lived.all
    lived.server.server.start()
    with receiving(lived.settings, lived.server):
        with lived.traffic.running():
            lived.traffic.more(20)
        caught_up(lived.server)
        status = wal_status(lived.settings)
        assert status.cut_off is None
    with reachable_folder() as folder:
        assert rows_at(lived.settings, lived.repository, Latest(), folder / "latest") == lived.rows() > lived.all
