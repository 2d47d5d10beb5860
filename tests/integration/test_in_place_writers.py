"""In place while others write: nothing does into the old directory any more, and the plan says what stays there."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from ops_workflows.errors import OpsError, RefusedError
from ops_workflows.postgres.processes import wait_until
from ops_workflows.postgres.server import DataDirectory, Server
from ops_workflows.restore.beside import Beside
from ops_workflows.restore.in_place import restore_in_place
from ops_workflows.restore.in_place_plan import InPlacePlan, plan_in_place
from ops_workflows.restore.moment import AtLsn, Latest, Moment
from ops_workflows.settings import Settings
from tests.support.command import ops
from tests.support.continuous import receiving
from tests.support.heard import Heard
from tests.support.killed_at import killed_at
from tests.support.lived import Lived, lived_server


@pytest.fixture
def lived(settings: Settings) -> Iterator[Lived]:
    with lived_server(settings) as made:
        yield made


def planned(lived: Lived, moment: Moment) -> tuple[InPlacePlan, str]:
    plan = plan_in_place(lived.settings, lived.repository, lived.data_dir, moment)
    return plan, "\n".join(plan.describe())


def write(lived: Lived) -> None:
    with lived.traffic.running():
        lived.traffic.more(20)


@contextmanager
def started_again_and_again(server: Server) -> Iterator[None]:
    """What systemd and its like do, for the length of a `with`."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.05):
            with suppress(OpsError, OSError):
                server.start()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive()


def test_a_server_that_is_started_again_meanwhile(lived: Lived) -> None:
    server, heard = lived.server.server, Heard()
    plan, said = planned(lived, AtLsn(lived.place))
    assert plan.is_running
    assert "stop the server that runs there" in said
    assert "what was written after that moment will be in the old data directory only" in said
    with started_again_and_again(server):
        restore_in_place(lived.settings, lived.repository, plan, "postgres", heard)
        assert wait_until(server.is_ready, 30)
        (aside,) = lived.aside()
        assert not DataDirectory(aside).running_processes()
        assert lived.rows() == lived.early
    assert 'global/pg_control": No such file' in server.log_file.read_text()
    server.stop("fast")
    assert lived.put_back() == lived.all


def test_a_server_that_is_started_again_between_a_kill_and_the_next_run(lived: Lived, tmp_path: Path) -> None:
    server = lived.server.server
    command = ("restore", "--in-place", "--to", str(lived.place), "--confirm", "postgres")
    with started_again_and_again(server):
        killed_at(lived.settings, "put in place", *command)
        assert not wait_until(server.is_ready, 1)
        done = ops(lived.settings, tmp_path, *command)
        assert done.code == 0, done
        assert wait_until(server.is_ready, 30)
        assert lived.rows() == lived.early
    server.stop("fast")
    assert lived.put_back() == lived.all


def test_a_server_that_is_started_after_the_plan_is_not_stopped(lived: Lived) -> None:
    lived.server.server.stop("fast")
    plan, _ = planned(lived, AtLsn(lived.place))
    lived.server.server.start()
    with pytest.raises(RefusedError, match="has been started over"):
        restore_in_place(lived.settings, lived.repository, plan, "postgres")
    assert lived.rows() == lived.all
    assert lived.names() == {"data"}


def test_a_receiver_ships_what_is_written_last(lived: Lived) -> None:
    with receiving(lived.settings, lived.server):
        plan, said = planned(lived, Latest())
        write(lived)
        restore_in_place(lived.settings, lived.repository, plan, "postgres")
    assert "the receiver that streams from that server ships its last WAL" in said
    assert lived.started() == lived.traffic.ids() > lived.all


def test_without_a_receiver_the_plan_says_what_stays_behind(lived: Lived) -> None:
    write(lived)
    plan, said = planned(lived, Latest())
    assert "no receiver ships that server's last WAL into the bucket" in said
    assert plan.log is not None
    assert f"{plan.log.end - plan.route.reach.end:,} bytes of WAL so far" in said
    restore_in_place(lived.settings, lived.repository, plan, "postgres")
    assert lived.started() == lived.all
    assert lived.put_back() == lived.traffic.ids() > lived.all


def test_a_receiver_that_left_meanwhile(lived: Lived) -> None:
    """What was promised is held, or nothing is done; planned again, it is said what stays behind."""
    with receiving(lived.settings, lived.server):
        plan, _ = planned(lived, Latest())
    write(lived)
    with pytest.raises(RefusedError, match="has not shipped all"):
        restore_in_place(lived.settings, lived.repository, plan, "postgres")
    assert not Beside(lived.data_dir).held()
    assert lived.names() == {"data"}
    plan, said = planned(lived, Latest())
    assert plan.log is not None
    assert f"the bucket lacks the last {plan.log.end - plan.route.reach.end:,} bytes of WAL" in said
    restore_in_place(lived.settings, lived.repository, plan, "postgres")
    assert lived.started() == lived.all
    assert lived.put_back() == lived.traffic.ids()
