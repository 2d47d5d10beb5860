"""The database restored where it stood: the old data directory is moved aside and never deleted.

The new one is restored and recovered beside it, and has answered on a private socket, before two renames put it in its
place. Each step can be seen on the disk, so whatever interrupts the work, running it again goes on from there.
"""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from ops_workflows.errors import DatabaseError, RefusedError
from ops_workflows.postgres.connection import connect
from ops_workflows.postgres.file_lock import HeldError, file_lock
from ops_workflows.postgres.server import DataDirectory
from ops_workflows.progress import SILENT, Progress
from ops_workflows.repository.backup import utc_now
from ops_workflows.repository.catalogue import Repository
from ops_workflows.restore import run
from ops_workflows.restore.moment import Moment
from ops_workflows.restore.route import find_route
from ops_workflows.restore.target import MARK, sync_folder
from ops_workflows.settings import Settings

_STOP_SECONDS = 120.0  # a server that is stopped ships its last WAL first; the receiver takes up to its flush interval


@dataclass(frozen=True, slots=True)
class InPlacePlan:
    """What a restore in place is going to do.

    Attributes:
        data_dir: The data directory that is to be replaced.
        moment: Where to.
        backup_id: The backup to begin with; None for the best.
        database: The name that a person has to type.
        aside: Where the present data directory goes; None if there is none.
        is_running: Whether a server runs over it, which is stopped first.
        resumes: Whether an earlier run had already recovered the new one, and only the move is left.
    """

    data_dir: Path
    moment: Moment
    backup_id: str | None
    database: str
    aside: Path | None
    is_running: bool
    resumes: bool

    @property
    def new(self) -> Path:
        """Where the new data directory is made."""
        return self.data_dir.with_name(f"{self.data_dir.name}.new")

    @property
    def ready(self) -> Path:
        """The file that says that the new one has been recovered, and to what."""
        return self.data_dir.with_name(f"{self.data_dir.name}.new.ready")

    def describe(self) -> list[str]:
        """The plan, a line each, for a person."""
        lines = [f"restore database {self.database} in place, in {self.data_dir}, to {self.moment}:"]
        if self.is_running:
            lines.append("  stop the server that runs there, so that nobody writes any more; its last WAL is shipped")
        if self.resumes:
            lines.append(f"  take {self.new}, which an earlier run has recovered to that moment")
        else:
            lines.append(f"  restore and recover into {self.new}, verify it, and see that it answers")
        if self.aside:
            lines.append(f"  move the present data directory to {self.aside}, where it stays until you delete it")
        lines.append(f"  move the new one to {self.data_dir}; start the server, and rebuild its standbys")
        return lines


def plan_in_place(settings: Settings, data_dir: Path, moment: Moment, backup_id: str | None) -> InPlacePlan:
    """Look at what there is and decide; nothing is touched.

    Raises:
        RefusedError: The folder is no data directory, or beside it lies what is not ours.
    """
    data_dir = data_dir.absolute()
    if data_dir.is_symlink():
        data_dir = data_dir.resolve()
    there = data_dir.exists() and any(data_dir.iterdir())
    if there and not (data_dir / "PG_VERSION").exists():
        raise RefusedError(f"{data_dir} is no PostgreSQL data directory: name the one that is to be replaced.")
    database = str(conninfo_to_dict(settings.require("backup_dsn")).get("dbname", "postgres"))
    aside = data_dir.with_name(f"{data_dir.name}.before-{utc_now():%Y%m%dT%H%M%SZ}") if there else None
    plan = InPlacePlan(
        data_dir=data_dir,
        moment=moment,
        backup_id=backup_id,
        database=database,
        aside=aside,
        is_running=bool(DataDirectory(data_dir).running_processes()) if there else False,
        resumes=False,
    )
    foreign = plan.new.exists() and any(plan.new.iterdir())
    if plan.ready.exists():
        if plan.ready.read_text() != _label(plan):
            raise RefusedError(
                f"{plan.new} was recovered to another moment by an earlier run: {plan.ready.read_text().strip()}. "
                f"Finish that with the same --to, or remove {plan.new} and {plan.ready}."
            )
        return InPlacePlan(data_dir, moment, backup_id, database, aside, plan.is_running, resumes=True)
    if foreign and not (plan.new / MARK).exists() and not _is_unfinished(plan):
        raise RefusedError(f"{plan.new} is not ours: move it away; it would be overwritten.")
    return plan


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
        RefusedError: The name is not the database's, or another such restore is at work: nothing was done. Or the
            moment cannot be reached.
        OpsError: The restore failed; the old data directory is where it was, its server stopped.
    """
    if confirmed != plan.database:
        raise RefusedError(f"Nothing was done: type the database's name, {plan.database}, to confirm.")
    with ExitStack() as alone:
        lock = plan.data_dir.with_name(f"{plan.data_dir.name}.new.lock")
        try:
            alone.enter_context(file_lock(lock))
        except HeldError:
            raise RefusedError(f"Another restore in place of {plan.data_dir} is at work: wait for it to end.") from None
        if plan.is_running:
            progress.say(f"Stopping the server over {plan.data_dir}: from here on nobody writes.")
            DataDirectory(plan.data_dir).stop("fast", timeout=_STOP_SECONDS)
        if not plan.resumes:
            _recover(settings, repository, plan, progress)
        _swap(plan, progress)
        lock.unlink()
    return plan.data_dir


def _recover(settings: Settings, repository: Repository, plan: InPlacePlan, progress: Progress) -> None:
    _clear(plan)
    # Only now: what the stopped server has shipped last belongs to the latest moment.
    route, listing = find_route(repository, plan.moment, plan.backup_id)
    spaces = {
        space.oid: plan.data_dir.with_name(f"{plan.data_dir.name}.tablespaces-{route.backup.id}") / str(space.oid)
        for space in route.backup.tablespaces
    }
    chosen = run.plan(route, plan.new, spaces, repository.chain(route.backup))
    _unfinished(plan).touch()
    with run.recovered(settings, repository, chosen, listing, progress) as (restored, server):
        with connect(server.dsn(plan.database, restored.backup.superuser)) as connection:
            row = connection.execute("SELECT pg_is_in_recovery()").fetchone()
        if row is None or row[0]:
            raise DatabaseError(f"The server over {plan.new} has not ended its recovery.")
    plan.ready.write_text(_label(plan))
    sync_folder(plan.ready.parent)


def _swap(plan: InPlacePlan, progress: Progress) -> None:
    if plan.data_dir.exists():
        if any(plan.data_dir.iterdir()):
            if plan.aside is None:
                raise RefusedError(f"{plan.data_dir} has been filled meanwhile: look at it, and plan again.")
            plan.data_dir.rename(plan.aside)
            progress.say(f"The old data directory is {plan.aside}.")
        else:
            plan.data_dir.rmdir()
    plan.new.rename(plan.data_dir)
    sync_folder(plan.data_dir.parent)
    plan.ready.unlink()
    _unfinished(plan).unlink(missing_ok=True)
    shutil.rmtree(plan.new.with_name(f"{plan.new.name}.run"), ignore_errors=True)


def _clear(plan: InPlacePlan) -> None:
    """Remove what an earlier run of ours, which did not get as far as a recovered server, has left."""
    for left in _left_over(plan):
        if DataDirectory(left).running_processes():
            DataDirectory(left).stop("immediate")
        shutil.rmtree(left)
    shutil.rmtree(plan.new.with_name(f"{plan.new.name}.run"), ignore_errors=True)


def _left_over(plan: InPlacePlan) -> Iterator[Path]:
    if plan.new.exists() and ((plan.new / MARK).exists() or _is_unfinished(plan) or not any(plan.new.iterdir())):
        # Its tablespaces first: they are known only from its links, and never from a name that another may have.
        spaces = plan.new / "pg_tblspc"
        if spaces.is_dir():
            yield from (link.resolve() for link in spaces.iterdir() if link.is_symlink() and link.resolve().is_dir())
        yield plan.new


def _unfinished(plan: InPlacePlan) -> Path:
    return plan.data_dir.with_name(f"{plan.data_dir.name}.new.unfinished")


def _is_unfinished(plan: InPlacePlan) -> bool:
    return _unfinished(plan).exists()


def _label(plan: InPlacePlan) -> str:
    return f"recovered to {plan.moment} from {plan.backup_id or 'the best backup'}\n"
