"""The database restored where it stood: the old data directory is moved aside and never deleted.

All that can be known to stand in the way is looked at before the server is stopped. From its stop on, the old directory
is held (see `held`): its pg_control lies under another name, so that nothing starts a server over it while the new one
is restored and recovered beside it, until that one has answered on a private socket and two renames have put it in its
place. A failure gives the old directory back as it was. After a kill each step can be seen on the disk (see `beside`),
and running the same again goes on from there, or gives it back.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ops_workflows.errors import DatabaseError, RefusedError
from ops_workflows.postgres.connection import connect
from ops_workflows.postgres.server import DataDirectory
from ops_workflows.progress import SILENT, Progress
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.wal import WalListing
from ops_workflows.restore import run
from ops_workflows.restore.beside import Beside, Recovered
from ops_workflows.restore.choose import Route
from ops_workflows.restore.extract import CONTROL
from ops_workflows.restore.held import hold, how_to_start, is_running, release
from ops_workflows.restore.in_place_plan import InPlacePlan, way_in
from ops_workflows.restore.moment import Latest
from ops_workflows.restore.old_log import log_of_directory
from ops_workflows.restore.plan import RestorePlan
from ops_workflows.restore.route import find_route
from ops_workflows.restore.target import sync_folder
from ops_workflows.settings import Settings


def restore_in_place(
    settings: Settings, repository: Repository, plan: InPlacePlan, confirmed: str, progress: Progress = SILENT
) -> Path:
    """Carry out a plan.

    Args:
        settings: For the restore.
        repository: Where from.
        plan: As it was shown to whoever confirmed it.
        confirmed: The database's name as that person typed it.
        progress: Hears of each step.

    Returns:
        The data directory, ready to be started by whatever starts it.

    Raises:
        RefusedError: The name is not the database's, another such restore is at work, the moment cannot be reached, or
            things are not as they were when the plan was made.
        OpsError: The restore failed. Whatever is raised, the old data directory is where it was and can be started.
    """
    if confirmed != plan.database:
        raise RefusedError(f"Nothing was done: type the database's name, {plan.database}, to confirm.")
    with plan.beside.alone(), plan.beside.explained():
        if plan.is_done:
            _tidy(plan.beside)
            progress.say("An earlier run had put it in place; only its marks were left, and they are removed.")
            return plan.data_dir
        with _given_back(plan, progress):
            _replace(settings, repository, plan, progress)
    return plan.data_dir


def _replace(settings: Settings, repository: Repository, plan: InPlacePlan, progress: Progress) -> None:
    beside = plan.beside
    route, listing = find_route(repository, plan.moment, plan.backup_id)
    if not _has(plan, route):
        _clear(beside)
        way_in(settings, repository, plan, route, listing)
    beside.unfinished.write_text(
        f"`ops restore --in-place` is at work on {plan.data_dir}, or has failed or was killed: then run it again.\n"
        f"To give it up: {how_to_start(plan.data_dir)}, if it is there, and remove {beside.new} and this file.\n"
    )
    if plan.aside is not None:
        _fence(plan, progress)
    if isinstance(plan.moment, Latest):
        # Only now: what the stopped server has shipped last belongs to it.
        route, listing = find_route(repository, plan.moment, plan.backup_id)
        _require_promised(settings, plan, route)
    if not _has(plan, route):
        _clear(beside)
        chosen = way_in(settings, repository, plan, route, listing)
        _recover(settings, repository, plan, chosen, listing, progress=progress)
    _swap(plan, progress)
    _tidy(beside)


def _has(plan: InPlacePlan, route: Route) -> bool:
    """Whether an earlier run has recovered what a way leads to."""
    return plan.earlier is not None and plan.earlier.is_in(plan.beside.new) and plan.earlier.is_current(route)


def _fence(plan: InPlacePlan, progress: Progress) -> None:
    if is_running(plan.data_dir):
        if not plan.is_running:
            raise RefusedError(f"A server has been started over {plan.data_dir} meanwhile: plan again.")
        progress.say(f"Stopping the server over {plan.data_dir}: from here on nobody writes.")
    hold(plan.data_dir)


def _require_promised(settings: Settings, plan: InPlacePlan, route: Route) -> None:
    log = log_of_directory(settings, plan.data_dir)
    if plan.promises_all and not (log and log.is_whole_in(route.reach)):
        raise RefusedError(
            f"The receiver has not shipped all that the server over {plan.data_dir} wrote before it stopped (to "
            f"{log.end if log else 'an unknown place'}; the bucket has it to {route.reach.end}): start it and see "
            "`ops wal status`, or do this again, whose plan then says what would be left behind."
        )


def _recover(
    settings: Settings,
    repository: Repository,
    plan: InPlacePlan,
    chosen: RestorePlan,
    listing: WalListing,
    *,
    progress: Progress,
) -> None:
    with run.recovered(settings, repository, chosen, listing, progress) as (restored, server):
        with connect(server.dsn(plan.database, restored.backup.superuser)) as connection:
            row = connection.execute("SELECT pg_is_in_recovery()").fetchone()
        if row is None or row[0]:
            raise DatabaseError(f"The server over {chosen.target} has not ended its recovery.")
    plan.beside.write_recovered(Recovered.now(chosen.route, plan.backup_id, chosen.target))


def _swap(plan: InPlacePlan, progress: Progress) -> None:
    data_dir, new = plan.data_dir, plan.beside.new
    progress.begin("put in place", None)
    if not new.exists():
        raise RefusedError(f"{new} is gone, so nothing was moved: plan again.")
    for folder in (data_dir, new):
        if folder.exists() and is_running(folder):
            raise RefusedError(f"A server runs over {folder}, so nothing was moved: stop it, and plan again.")
    if data_dir.exists() and not any(data_dir.iterdir()):
        data_dir.rmdir()
    if data_dir.exists():
        if plan.aside is None or (data_dir / CONTROL).exists():
            raise RefusedError(f"{data_dir} was changed meanwhile, so nothing was moved: look at it, and plan again.")
        data_dir.rename(plan.aside)
    new.rename(data_dir)
    sync_folder(data_dir.parent)
    if plan.aside is not None:
        progress.say(f"The old data directory is {plan.aside}.")


def _tidy(beside: Beside) -> None:
    """Remove what shows that the work is not done; the file that says what was recovered goes last."""
    for folder in beside.held():
        release(folder)
    shutil.rmtree(beside.run, ignore_errors=True)
    for mark in (beside.part, beside.unfinished, beside.ready):
        mark.unlink(missing_ok=True)


def _clear(beside: Beside) -> None:
    """Remove the new data directory that an earlier run has made, if it made one, and what belongs to it."""
    if not beside.is_ours():
        raise RefusedError(f"{beside.new} is not ours: move it away; it would be overwritten.")
    beside.ready.unlink(missing_ok=True)
    if DataDirectory(beside.new).running_processes():
        DataDirectory(beside.new).stop("immediate")
    # Its tablespaces are those that both its links and their names call ours: replay makes links to others' folders.
    for space in _tablespaces(beside.new) - _tablespaces(beside.data_dir):
        if space.parent.name.startswith(f"{beside.data_dir.name}.tablespaces-"):
            shutil.rmtree(space)
    for folder in (beside.new, beside.run):
        if folder.exists():
            shutil.rmtree(folder)


def _tablespaces(data_dir: Path) -> set[Path]:
    links = data_dir / "pg_tblspc"
    return {link.resolve() for link in links.iterdir() if link.resolve().is_dir()} if links.is_dir() else set()


@contextmanager
def _given_back(plan: InPlacePlan, progress: Progress) -> Iterator[None]:
    """However a `with` fails, the old data directory is where it was after it, and can be started."""
    try:
        yield
    finally:
        for folder in plan.beside.held():
            if plan.data_dir.exists():
                release(folder)
            else:  # it ended between the two renames
                folder.rename(plan.data_dir)
                release(plan.data_dir)
            progress.say("The old data directory can be started again.")
        if not plan.beside.new.exists():
            plan.beside.unfinished.unlink(missing_ok=True)
