"""Folders for restores that nobody keeps. What its maker could not remove, because it was killed, the next one does."""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ops_workflows.errors import ConfigurationError
from ops_workflows.postgres.account import server_account
from ops_workflows.postgres.file_lock import HeldError, folder_lock
from ops_workflows.postgres.programs import find_programs
from ops_workflows.postgres.server import Server
from ops_workflows.progress import SILENT, Progress
from ops_workflows.settings import Settings

_PATIENCE_SECONDS = 30  # for others who look for what is left, which takes them a moment


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
    with ExitStack() as mine:
        try:
            root.mkdir(parents=True, exist_ok=True)
            # Under the root's lock, so that nobody finds a folder before its maker holds it.
            with folder_lock(root, patience=_PATIENCE_SECONDS):
                abandoned = [found for found in root.iterdir() if found.is_dir() and _is_ours_now(found, mine)]
                folder = root / secrets.token_hex(4)
                folder.mkdir()
                folder.chmod(0o711)  # the server's account passes through; nobody can list it
                mine.enter_context(folder_lock(folder))
            for left in abandoned:
                _remove(settings, left, major)
                progress.say(f"Removed {left}, left by a restore that was killed.")
        except (OSError, HeldError) as error:
            why = "it is locked by another restore" if isinstance(error, HeldError) else error.strerror
            raise ConfigurationError(f"{root} cannot hold scratch restores ({why}): set OPS_SCRATCH_DIR.") from error
        try:
            yield folder
        finally:
            _remove(settings, folder, major)


def _is_ours_now(folder: Path, mine: ExitStack) -> bool:
    """Whether nobody held it; we do from now on."""
    try:
        mine.enter_context(folder_lock(folder))
    except HeldError:
        return False
    return True


def _remove(settings: Settings, folder: Path, major: int) -> None:
    data = folder / "data"
    if data.exists():
        programs = find_programs(settings.pg_bin_dir, major)
        account = server_account(settings.server_user)
        Server(programs, data, log_file=folder / "stop.log", options={}, account=account).stop("immediate")
    shutil.rmtree(folder)
