"""The embedded stack's life: up, killed in every way, up again, down."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from ops_workflows.errors import ConfigurationError, RefusedError
from ops_workflows.local.demo import demo
from ops_workflows.local.dev import dev
from ops_workflows.local.layout import Layout
from ops_workflows.local.object_store import remove_sockets
from ops_workflows.local.ports import GRPC_OFFSET, remembered
from ops_workflows.local.stack import SERVICES, Service, down, status, up
from ops_workflows.postgres.processes import wait_until
from ops_workflows.postgres.server import DataDirectory
from ops_workflows.settings import Settings
from ops_workflows.storage.s3 import open_store

Superuser = Callable[..., psycopg.Connection[Any]]
REPOSITORY = Path(__file__).parents[2]


def kill(service: Service) -> None:
    for pid in service.pids:
        os.kill(pid, signal.SIGKILL)


def by_name(folder: Path) -> dict[str, Service]:
    return {service.name: service for service in status(folder)}


def pids_below(folder: Path) -> list[int]:
    """Every process of the machine that stands below the stack's data, asked of the kernel in another way."""
    root = str(Layout(folder.resolve()).data.resolve())
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if str(link.readlink()).startswith(root):
                found.append(int(link.parent.name))
        except OSError:
            continue
    return found


def test_up_again_changes_nothing(folder: Path, superuser: Superuser) -> None:
    first = up(Settings.read(folder), folder)
    written = first.env_file.read_text()
    with superuser(folder) as connection:
        connection.execute("CREATE TABLE kept ()")
    again = up(Settings.read(folder), folder)
    assert [s.address for s in again.services] == [s.address for s in first.services]
    assert {s.name: s.pids[0] for s in again.services} == {s.name: s.pids[0] for s in first.services}
    assert again.env_file.read_text() == written
    with superuser(folder) as connection:
        connection.execute("SELECT FROM kept")


def test_down_leaves_no_process_and_keeps_the_data(folder: Path, superuser: Superuser) -> None:
    up(Settings.read(folder), folder)
    with superuser(folder) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept ()")
    assert pids_below(folder)
    said: list[str] = []
    down(folder, said.append)
    assert pids_below(folder) == []
    assert sorted(line.split(":")[0] for line in said) == sorted(SERVICES)
    assert all(service.pids == () for service in status(folder))
    sockets = [
        path
        for path in Path("/tmp").glob("seaweedfs-*.sock")  # noqa: S108
        if any(str(port) in path.name for port in ports(folder))
    ]
    assert sockets == []
    up(Settings.read(folder), folder)
    with superuser(folder) as connection:
        connection.execute("SELECT FROM kept")


def ports(folder: Path) -> list[int]:
    """Of the gRPC services, which SeaweedFS names its sockets by."""
    return [port + GRPC_OFFSET for port in remembered(Layout(folder.resolve()).state_file).values()]


def test_up_fresh_begins_anew(folder: Path, superuser: Superuser) -> None:
    up(Settings.read(folder), folder)
    with superuser(folder) as connection:
        connection.execute("CREATE TABLE gone ()")
    password = (folder / ".ops/secrets/passwords.json").read_text()
    up(Settings.read(folder), folder, fresh=True)
    assert (folder / ".ops/secrets/passwords.json").read_text() != password
    with superuser(folder) as connection, pytest.raises(psycopg.errors.UndefinedTable):
        connection.execute("SELECT FROM gone")


@pytest.mark.parametrize(("command", "ran"), [("dev", True), ("demo", True), ("demo", False)])
def test_dev_and_demo_leave_a_stack_as_they_found_it(folder: Path, command: str, ran: bool) -> None:
    up(Settings.read(folder), folder) if ran else down(folder)
    before = {service.name: service.pids[:1] for service in status(folder)}
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    run = partial(dev, folder, rate=0, port=0) if command == "dev" else partial(demo, folder, rows=1, keep=False)
    said: list[str] = []
    try:
        with pytest.raises(ConfigurationError, match="There is no folder of migrations"):  # the stack is up by then
            run(report=said.append)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert {service.name: service.pids[:1] for service in status(folder)} == before
    assert all(before.values()) is ran
    assert ("The stack ran before, and is left running. Its end: ops down" in said) is ran


def test_down_without_a_stack_says_so_and_makes_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    down(tmp_path, said.append)
    assert said == [f"There is no stack in {tmp_path}."]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", SERVICES)
def test_up_after_a_service_was_killed(folder: Path, name: str) -> None:
    up(Settings.read(folder), folder)
    before = by_name(folder)
    open_store(Settings.read(folder)).put(f"before/{name}", b"kept" * 1000)
    kill(before[name])
    after = {service.name: service for service in up(Settings.read(folder), folder).services}
    assert after[name].pids
    assert set(after[name].pids).isdisjoint(before[name].pids)
    assert after[name].address == before[name].address
    assert all(after[other].pids[0] == before[other].pids[0] for other in SERVICES if other != name)
    assert open_store(Settings.read(folder)).get(f"before/{name}") == b"kept" * 1000


def test_up_after_only_the_postmaster_was_killed_and_a_backend_lives_on(folder: Path, superuser: Superuser) -> None:
    up(Settings.read(folder), folder)
    directory = DataDirectory(Layout(folder.resolve()).service("primary") / "data")
    with superuser(folder) as connection:
        backend = psutil.Process(connection.info.backend_pid)
        # A backend deep in a computation does not notice that its postmaster died; one that is stopped stands for it.
        backend.suspend()
        postmaster = directory.postmaster()
        assert postmaster is not None
        postmaster.kill()
        assert wait_until(lambda: directory.postmaster() is None, 5)
        up(Settings.read(folder), folder)
        assert not backend.is_running() or backend.status() == psutil.STATUS_ZOMBIE
    with superuser(folder) as connection:
        connection.execute("SELECT 1")


def test_up_over_a_stale_pid_file_that_names_a_living_process(folder: Path) -> None:
    up(Settings.read(folder), folder)
    before = by_name(folder)
    data = Layout(folder.resolve()).service("primary") / "data"
    pid_file = (data / "postmaster.pid").read_text().splitlines()
    kill(before["primary"])
    assert wait_until(lambda: not by_name(folder)["primary"].pids, 10)
    # The pid belongs by now to another process of the same account, which PostgreSQL would take for its predecessor.
    stale = [str(before["valkey"].pids[0]), *pid_file[1:]]
    (data / "postmaster.pid").write_text("\n".join(stale) + "\n")
    up(Settings.read(folder), folder)
    assert by_name(folder)["valkey"].pids == before["valkey"].pids


def test_up_over_what_an_up_left_that_was_killed_while_initialising(folder: Path) -> None:
    up(Settings.read(folder), folder)
    down(folder)
    for name in ("primary", "standby", "dagster"):
        data = Layout(folder.resolve()).service(name) / "data"
        data.rename(data.with_name("data.part"))
        (data.with_name("data.part") / "PG_VERSION").unlink()
    assert all(service.pids for service in up(Settings.read(folder), folder).services)


@pytest.mark.parametrize("seconds", [0.05, 0.4, 0.9, 1.6])
def test_up_after_an_up_that_was_killed(empty_folder: Path, seconds: float, superuser: Superuser) -> None:
    # The wait is the very thing that is tried: an end at any moment.
    code = (
        "from pathlib import Path; from ops_workflows.local.stack import up\n"
        "from ops_workflows.settings import Settings\n"
        f"print(flush=True); up(Settings.read(Path({str(empty_folder)!r})), Path({str(empty_folder)!r}))"
    )
    child = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, stdout=subprocess.PIPE)
    with child:
        assert child.stdout is not None
        child.stdout.readline()
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            child.kill()
    assert all(service.pids for service in up(Settings.read(empty_folder), empty_folder).services)
    with superuser(empty_folder) as connection:
        connection.execute("SELECT 1")
    down(empty_folder)
    assert pids_below(empty_folder) == []


def test_a_port_that_somebody_took_is_picked_again(folder: Path) -> None:
    up(Settings.read(folder), folder)
    taken = int(by_name(folder)["valkey"].address.rpartition(":")[2])
    down(folder)
    with socket.create_server(("127.0.0.1", taken)):
        up(Settings.read(folder), folder)
        services = by_name(folder)
    assert services["valkey"].address != f"127.0.0.1:{taken}"
    assert Settings.read(folder).require("redis_url") == f"redis://{services['valkey'].address}/0"


def test_up_after_the_ports_were_forgotten_while_all_runs(folder: Path) -> None:
    up(Settings.read(folder), folder)
    forgotten = remembered(folder / ".ops/stack.json")
    (folder / ".ops/stack.json").unlink()
    said: list[str] = []
    assert all(service.pids for service in up(Settings.read(folder), folder, report=said.append).services)
    assert "primary: stopped" in said
    remove_sockets(forgotten)


def test_objects_survive_when_every_port_of_the_object_store_changes(folder: Path) -> None:
    up(Settings.read(folder), folder)
    open_store(Settings.read(folder)).put("a/b", b"kept" * 1000)
    down(folder)
    (folder / ".ops/stack.json").unlink()
    up(Settings.read(folder), folder)
    assert open_store(Settings.read(folder)).get("a/b") == b"kept" * 1000


def test_a_standby_that_lost_its_wal_is_cloned_anew(folder: Path, superuser: Superuser) -> None:
    up(Settings.read(folder), folder)
    DataDirectory(Layout(folder.resolve()).service("standby") / "data").stop()
    with superuser(folder) as primary:
        primary.execute("SELECT pg_drop_replication_slot('standby')")
        primary.execute("CREATE TABLE after_the_loss ()")
    said: list[str] = []
    up(Settings.read(folder), folder, report=said.append)
    assert any("cloned anew" in line for line in said)
    with superuser(folder, "standby") as standby:
        standby.execute("SELECT FROM after_the_loss")


def test_a_promoted_standby_is_left_alone(folder: Path, superuser: Superuser) -> None:
    up(Settings.read(folder), folder)
    with superuser(folder, "standby") as standby:
        standby.execute("SELECT pg_promote()")
    with pytest.raises(RefusedError, match="was promoted"):
        up(Settings.read(folder), folder)
    up(Settings.read(folder), folder, fresh=True)


def test_a_copied_folder_does_not_touch_the_original(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    layout = Layout(folder.resolve())
    up(Settings.read(folder), folder)
    if not layout.data.is_symlink():  # not root, or a folder that the servers' account can enter: nothing is shared
        elsewhere = Path(tmp_path_factory.mktemp("elsewhere"), "data")
        down(folder)
        layout.data.rename(elsewhere)
        layout.data.symlink_to(elsewhere)
        with pytest.raises(RefusedError, match="copied or moved"):
            up(Settings.read(folder), folder)
        layout.data.unlink()
        elsewhere.rename(layout.data)
        return
    copy = tmp_path_factory.mktemp("copy")
    shutil.copytree(folder / ".ops", copy / ".ops", symlinks=True)
    for refused in (lambda: up(Settings.read(copy), copy), lambda: down(copy)):
        with pytest.raises(RefusedError, match="copied or moved"):
            refused()
    assert all(service.pids for service in status(folder))


def test_one_command_at_a_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops_workflows.local.layout.PATIENCE_SECONDS", 0.2)
    with Layout(folder.resolve()).locked(), pytest.raises(RefusedError, match="Another"):
        up(Settings.read(folder), folder)


def test_as_an_ordinary_user(tmp_path: Path) -> None:
    """The whole life of a stack as somebody else than root; when we are nobody special, that is what all tests show."""
    code = textwrap.dedent("""\
        import os, sys
        from pathlib import Path
        import psutil
        from ops_workflows.local.stack import down, up
        from ops_workflows.settings import Settings
        folder = Path(sys.argv[1])
        stack = up(Settings.read(folder), folder)
        assert os.geteuid() != 0
        assert all(psutil.Process(pid).uids().real == os.geteuid() for s in stack.services for pid in s.pids)
        assert not (folder / ".ops/data").is_symlink()
        down(folder)
        print("done")
    """)
    command, options = [sys.executable, "-W", "error", "-c", code, str(tmp_path)], {}
    if os.geteuid() == 0:
        user = pwd.getpwnam("games")
        home = Path("/tmp") / f"ops-test-{os.getpid()}"  # noqa: S108
        home.mkdir(mode=0o700)
        os.chown(home, user.pw_uid, user.pw_gid)
        command[-1] = str(home)
        # Our interpreter may lie in a home that others may not enter; reading files is the one privilege that is kept.
        drop = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        drop += ["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]
        command = [*drop, *command]
        options = {"HOME": str(home)}
    try:
        env = {**os.environ, "PYTHONPATH": str(REPOSITORY), **options}
        done = subprocess.run(
            command, env=env, cwd=command[-1], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.stdout.splitlines()[-1:] == ["done"], done.stderr
    finally:
        down(Path(command[-1]))
        if options:
            shutil.rmtree(home)
