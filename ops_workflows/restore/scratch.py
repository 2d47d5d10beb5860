"""Folders for restores that nobody keeps. What its maker could not remove, because it was killed, the next one does."""

import json
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from ops_workflows.errors import ConfigurationError
from ops_workflows.postgres.account import server_account
from ops_workflows.postgres.programs import find_programs
from ops_workflows.postgres.server import Server
from ops_workflows.progress import SILENT, Progress
from ops_workflows.settings import Settings

_OWNER = "owner.json"
_YOUNG_SECONDS = 60


@contextmanager
def scratch(settings: Settings, major: int, progress: Progress = SILENT) -> Iterator[Path]:
    """A new folder for the length of a `with`; removed with the server that may run in its `data`, whatever happens.

    Args:
        settings: OPS_SCRATCH_DIR, or OPS_HOME.
        major: PostgreSQL's major version of what will run there.
        progress: Hears of folders that killed predecessors left, which are removed first.

    Raises:
        ConfigurationError: The folder cannot be made.
    """
    root = settings.scratch
    try:
        root.mkdir(parents=True, exist_ok=True)
        for left in _abandoned(root):
            _remove(settings, left, major)
            progress.say(f"Removed {left}, left by a restore that was killed.")
        folder = root / secrets.token_hex(4)
        folder.mkdir(mode=0o711)  # the server's account passes through; nobody can list it
    except OSError as error:
        raise ConfigurationError(
            f"{root} cannot hold scratch restores ({error.strerror}): set OPS_SCRATCH_DIR."
        ) from error
    me = psutil.Process()
    (folder / _OWNER).write_text(json.dumps({"pid": me.pid, "started": me.create_time()}))
    try:
        yield folder
    finally:
        _remove(settings, folder, major)


def _abandoned(root: Path) -> Iterator[Path]:
    for folder in root.iterdir():
        if folder.is_dir() and not _is_owned(folder):
            yield folder


def _is_owned(folder: Path) -> bool:
    try:
        owner = json.loads((folder / _OWNER).read_text())
        return abs(psutil.Process(owner["pid"]).create_time() - float(owner["started"])) < 1
    except psutil.NoSuchProcess:
        return False
    except (FileNotFoundError, ValueError):
        # The folder comes before its owner's name: its maker is a moment old, or died in that moment.
        return time.time() - folder.stat().st_mtime < _YOUNG_SECONDS


def _remove(settings: Settings, folder: Path, major: int) -> None:
    data = folder / "data"
    if data.exists():
        programs = find_programs(settings.pg_bin_dir, major)
        account = server_account(settings.server_user)
        Server(programs, data, log_file=folder / "stop.log", options={}, account=account).stop("immediate")
    shutil.rmtree(folder)
