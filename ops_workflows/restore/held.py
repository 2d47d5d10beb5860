"""A data directory over which no server can start, because its `global/pg_control` lies under another name.

Stopping a server is no fence: what watches over it (systemd, Patroni, an orchestrator) starts it again. Without that
file PostgreSQL refuses to start, names the file that it misses, and beside that place lies one whose name says who has
it. Holding and releasing are one rename each, so a kill leaves either the one or the other. And the directory stays
where it is: moved away, it would be taken for one that has to be made anew, as images do that run initdb.
"""

from pathlib import Path

from ops_workflows.errors import RefusedError
from ops_workflows.postgres.processes import wait_until
from ops_workflows.postgres.server import DataDirectory
from ops_workflows.restore.extract import CONTROL
from ops_workflows.restore.target import sync_folder

HELD = "global/pg_control.held_by_ops_restore"
_STOP_SECONDS = 120.0  # a server that is stopped ships its last WAL first; the receiver takes up to its flush interval
_STOPS = 5
_FAILING_SECONDS = 5.0  # a server that misses the file ends within a fraction of one


def is_held(data_dir: Path) -> bool:
    """Whether nothing can start there because of us."""
    return (data_dir / HELD).exists() and not (data_dir / CONTROL).exists()


def hold(data_dir: Path) -> None:
    """Stop the server that runs there, if one does, and see to it that none starts. One that is held stays so.

    Raises:
        RefusedError: Something starts it again faster than it can be held; it is as it was.
        DatabaseError: A process of the server cannot be ended.
    """
    directory = DataDirectory(data_dir)
    for _ in range(_STOPS):
        if is_running(data_dir):
            directory.stop("fast", timeout=_STOP_SECONDS)
        _move(data_dir, CONTROL, HELD)
        if not is_running(data_dir):
            return
        # One was started between the two and has read the file; without that it would not shut down well.
        release(data_dir)
    raise RefusedError(
        f"The server over {data_dir} is started again each time that it is stopped: stop what does that (such as "
        "systemd or Patroni), and try again."
    )


def is_running(data_dir: Path) -> bool:
    """Whether a server runs over a directory. Over one without its file, one that is about to fail does not count."""
    failing = 0.0 if (data_dir / CONTROL).exists() else _FAILING_SECONDS
    return not wait_until(lambda: not DataDirectory(data_dir).running_processes(), failing)


def release(data_dir: Path) -> None:
    """Let it be started again; one that is not held stays as it is."""
    if is_held(data_dir):
        _move(data_dir, HELD, CONTROL)


def how_to_start(data_dir: Path) -> str:
    """What a person does who wants a held directory back as it was."""
    return f"rename {data_dir / HELD} to {Path(CONTROL).name}"


def _move(data_dir: Path, name: str, other: str) -> None:
    if (data_dir / name).exists():
        (data_dir / name).rename(data_dir / other)
        sync_folder((data_dir / other).parent)
