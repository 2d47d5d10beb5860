"""The embedded stack of one folder: everything that the application's production has, from PyPI wheels, on loopback.

`up` and `down` are safe to repeat and to interrupt: each looks at what is there, by asking the kernel, and does what is
left to do.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ops_workflows.local import ports as ports_of
from ops_workflows.local.cache import cache, start_cache
from ops_workflows.local.credentials import Credentials
from ops_workflows.local.daemon import Daemon
from ops_workflows.local.databases import start_dagster, start_primary, start_standby
from ops_workflows.local.envfile import leading_to, overridden, write_block
from ops_workflows.local.layout import Layout
from ops_workflows.local.object_store import object_store, remove_sockets, start_object_store
from ops_workflows.local.place import HOST, Place, Report
from ops_workflows.local.receiver import receiver, start_receiver
from ops_workflows.postgres.account import server_account
from ops_workflows.postgres.programs import find_programs
from ops_workflows.postgres.server import DataDirectory
from ops_workflows.settings import Settings

MAJOR = 18
DATABASES = ("primary", "standby", "dagster")
SERVICES = (*DATABASES, "seaweedfs", "valkey", "wal")


@dataclass(frozen=True)
class Service:
    """One service of the stack: its address, if it has one, and the pids of its processes, none if it does not run."""

    name: str
    address: str
    pids: tuple[int, ...]


@dataclass(frozen=True)
class Stack:
    """A stack that is up."""

    folder: Path
    env_file: Path
    services: tuple[Service, ...]


def up(settings: Settings, folder: Path, *, fresh: bool = False, report: Report = lambda _: None) -> Stack:
    """Bring the stack of `folder` up, and write the `.env` there that leads to it.

    Args:
        settings: Which programs and which account to use; nothing else of them matters here.
        folder: Below its `.ops/` is all that the stack has.
        fresh: Stop what runs and delete all data and passwords first.
        report: Called with a sentence for each thing that is done, from several threads.

    Raises:
        ConfigurationError: Something that the stack needs is missing; nothing was started.
        OpsError: A service did not start; the others run. Mend the cause and call again, or call `down`.
    """
    layout = Layout(folder.resolve())
    account = server_account(settings.server_user)
    programs = find_programs(settings.pg_bin_dir, MAJOR)
    with layout.locked():
        if fresh:
            if not layout.is_foreign():
                _stop_all(layout, report)
            layout.delete()
        layout.refuse_foreign()
        layout.prepare(account, SERVICES)
        known = ports_of.remembered(layout.state_file)
        if set(known) != set(ports_of.NAMES):
            _stop_all(layout, report)  # whatever runs, nobody knows any more where it listens
        running = {service.name for service in _services(layout) if service.pids}
        # SeaweedFS has several ports under names of their own.
        in_use = running | (set(ports_of.OBJECT_STORE) if "seaweedfs" in running else set())
        ports = ports_of.assign(known, in_use)
        ports_of.remember(layout.state_file, ports)
        credentials = Credentials(layout.secrets)
        credentials.write(ports)
        place = Place(layout, ports, credentials, programs, account, report)

        def start_primary_and_standby() -> None:
            start_primary(place)
            start_standby(place)

        _together(
            start_primary_and_standby,
            lambda: start_object_store(place, settings),
            lambda: start_dagster(place),
            lambda: start_cache(place),
        )
        write_block(layout.env_file, leading_to(place))
        start_receiver(place)
        for variable in overridden(place):
            report(f"{variable} is set elsewhere, in the environment or by a line of yours: not to this stack's value")
        return Stack(layout.folder, layout.env_file, _services(layout))


def down(folder: Path, report: Report = lambda _: None) -> None:
    """Stop all that `up` started in `folder` and wait until it is gone; the data stay.

    Raises:
        OpsError: A process cannot be ended.
    """
    layout = Layout(folder.resolve())
    if not layout.home.is_dir():
        report(f"There is no stack in {layout.folder}.")
        return
    with layout.locked():
        layout.refuse_foreign()
        _stop_all(layout, report)


def status(folder: Path) -> tuple[Service, ...]:
    """The services of the stack in `folder`; none if `up` has never been called there."""
    layout = Layout(folder.resolve())
    return _services(layout) if layout.state_file.exists() else ()


@contextmanager
def left_as_found(folder: Path, report: Report) -> Iterator[None]:
    """A stack that is brought up within a `with` is down after it; one that ran before runs on.

    Raises:
        OpsError: A process cannot be ended.
    """
    ran = any(service.pids for service in status(folder))
    try:
        yield
    finally:
        if ran:
            report("The stack ran before, and is left running. Its end: ops down")
        else:
            down(folder, report)


def _stop_all(layout: Layout, report: Report) -> None:
    def stop(service: DataDirectory | Daemon, name: str) -> None:
        was_running = bool(service.running_processes())
        service.stop()
        if was_running:
            report(f"{name}: stopped")

    services = _parts(layout)
    # First, while the server and the bucket are there, so that it can ship what it has.
    stop(services["wal"], "wal")

    def stop_standby_and_primary() -> None:
        # In this order, so that the standby has not to look for a primary that is going away.
        stop(services["standby"], "standby")
        stop(services["primary"], "primary")

    _together(
        stop_standby_and_primary,
        lambda: stop(services["dagster"], "dagster"),
        lambda: stop(services["seaweedfs"], "seaweedfs"),
        lambda: stop(services["valkey"], "valkey"),
    )
    remove_sockets(ports_of.remembered(layout.state_file))


def _together(*tasks: Callable[[], object]) -> None:
    """Do the tasks at once, wait for all of them, and raise the first error that one of them had."""
    with ThreadPoolExecutor(len(tasks)) as pool:
        done = [pool.submit(task) for task in tasks]
    for task in done:
        task.result()


def _parts(layout: Layout) -> dict[str, DataDirectory | Daemon]:
    databases = {name: DataDirectory(layout.service(name) / "data") for name in DATABASES}
    return {**databases, "seaweedfs": object_store(layout), "valkey": cache(layout), "wal": receiver(layout)}


def _services(layout: Layout) -> tuple[Service, ...]:
    ports = ports_of.remembered(layout.state_file)
    ports["seaweedfs"] = ports.get("s3", 0)
    return tuple(
        Service(
            name,
            f"{HOST}:{ports[name]}" if name in ports else "",
            tuple(process.pid for process in part.running_processes()),
        )
        for name, part in _parts(layout).items()
    )
