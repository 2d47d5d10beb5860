"""What a restore in place is going to do: what there is, looked at, and decided; nothing is touched."""

import os
from dataclasses import dataclass
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from ops_workflows.errors import RefusedError
from ops_workflows.postgres.connection import describe
from ops_workflows.repository.backup import utc_now
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.wal import WalListing
from ops_workflows.restore import run
from ops_workflows.restore.beside import Beside, Recovered
from ops_workflows.restore.choose import Route
from ops_workflows.restore.held import how_to_start, is_running
from ops_workflows.restore.moment import AtName, AtTime, Latest, Moment
from ops_workflows.restore.old_log import OldLog, left_behind, log_of_directory, log_of_server
from ops_workflows.restore.plan import RestorePlan
from ops_workflows.restore.readable import require_backups, require_wal
from ops_workflows.restore.route import find_route
from ops_workflows.restore.run import require_way
from ops_workflows.settings import Settings

_MiB = 1024**2


@dataclass(frozen=True, slots=True)
class InPlacePlan:
    """What a restore in place is going to do.

    Attributes:
        data_dir: The data directory that is to be replaced.
        moment: Where to.
        backup_id: The backup to begin with; None for the best.
        database: The name that a person has to type.
        route: The way there, by what the bucket has now.
        aside: Where the present data directory goes; None if there is none.
        is_running: Whether a server runs over it, which is stopped first.
        log: How far the log of the present data directory goes; None if that cannot be told.
        elsewhere: As whom and where a server of this cluster answers that cannot be seen to run over the directory, and
            so is not stopped; None if none does.
        earlier: What an earlier run has recovered to that moment; None if none has.
    """

    data_dir: Path
    moment: Moment
    backup_id: str | None
    database: str
    route: Route
    aside: Path | None
    is_running: bool
    log: OldLog | None
    elsewhere: str | None
    earlier: Recovered | None

    @property
    def beside(self) -> Beside:
        """The places beside the data directory."""
        return Beside(self.data_dir)

    @property
    def is_done(self) -> bool:
        """Whether an earlier run has done it all, and was only kept from saying so."""
        return self.earlier is not None and self.earlier.is_in(self.data_dir)

    @property
    def promises_all(self) -> bool:
        """Whether the new one is to have all that the old server writes until its stop."""
        shipped = self.log is not None and self.log.is_shipped_along(self.route.reach)
        return self.is_running and shipped and isinstance(self.moment, Latest)

    def describe(self) -> list[str]:
        """The plan, a line each, for a person."""
        data_dir, new = self.data_dir, self.beside.new
        lines = [f"restore database {self.database} in place, in {data_dir}, to {self.moment}:"]
        if self.is_done:
            return [*lines, "  remove the marks of an earlier run, which has done all else and was killed at its end"]
        lines += [
            f"  go on after an earlier run, which was killed and holds {folder} (to start that, {how_to_start(folder)})"
            for folder in self.beside.held()
        ]
        if self.elsewhere:
            lines.append(f"  leave alone the server of this cluster that answers {self.elsewhere}: it is not seen here")
        if self.is_running:
            lines.append("  stop the server that runs there, so that nobody writes any more")
        if self.aside:
            lines.append(
                f"  hold back global/pg_control in {data_dir}, so that nothing starts a server there meanwhile"
            )
            lines.append(f"  {self._left_behind()}")
        if self.earlier is not None and self.earlier.is_current(self.route):
            later = ", unless the bucket then has a later one" if isinstance(self.moment, Latest) else ""
            lines.append(f"  take {new}, which an earlier run has recovered to that moment{later}")
        else:
            backup, wal = self.route.backup, self.route.wal_bytes / _MiB
            lines.append(f"  restore backup {backup.id} of {backup.finished_at:%Y-%m-%d %H:%M:%S} UTC into {new}")
            lines.append(f"  verify it, recover it with at most {wal:,.0f} MiB of WAL, and see that it answers")
            if not self._is_certain():
                lines.append("  (that the WAL has that moment, only replay can tell: try it first, with --target-dir)")
        if self.aside:
            lines.append(f"  move the present data directory to {self.aside}, where it stays until you delete it")
        lines.append(f"  move the new one to {data_dir}; start the server, and rebuild its standbys")
        return lines

    def _is_certain(self) -> bool:
        match self.moment:
            case AtName():
                return False
            case AtTime(time):
                return self.route.reach.holds_all(time)
            case _:
                return True

    def _left_behind(self) -> str:
        if isinstance(self.moment, Latest):
            return left_behind(self.log, self.route.reach, running=self.is_running)
        return "what was written after that moment will be in the old data directory only"


def plan_in_place(
    settings: Settings, repository: Repository, data_dir: Path, moment: Moment, backup_id: str | None = None
) -> InPlacePlan:
    """Look at what there is and decide; nothing is touched.

    Args:
        settings: For the restore.
        repository: Where from.
        data_dir: The data directory to replace; it need not be there any more.
        moment: Where to.
        backup_id: The backup to begin with; None for the best.

    Raises:
        RefusedError: The moment cannot be reached, there is too little room, the folder is no data directory or one of
            another cluster, it cannot be moved, or beside it lies what is not ours.
        ConfigurationError: No key of ours opens the backup, or PostgreSQL's account cannot get there.
        StorageError: The bucket did not answer.
    """
    data_dir = data_dir.absolute()
    if data_dir.is_symlink():
        data_dir = data_dir.resolve()
    beside = Beside(data_dir)
    _require_alone(beside)
    with beside.explained():
        return _plan(settings, repository, beside, moment, backup_id)


def _plan(
    settings: Settings, repository: Repository, beside: Beside, moment: Moment, backup_id: str | None
) -> InPlacePlan:
    data_dir = beside.data_dir
    there = data_dir.exists() and any(data_dir.iterdir())
    if there and not (data_dir / "PG_VERSION").exists():
        raise RefusedError(f"{data_dir} is no PostgreSQL data directory: name the one that is to be replaced.")
    _require_movable(beside)
    running = there and is_running(data_dir)
    # The server before the bucket: what a receiver has acknowledged by now, the bucket must have.
    dsn, ours = settings.require("backup_dsn"), log_of_directory(settings, data_dir) if there else None
    said = log_of_server(settings)
    if ours is not None and ours.system != repository.layout.system:
        raise RefusedError(
            f"{data_dir} is of cluster {ours.system} and the backups are of {repository.layout.system}: choose the "
            "backups with --system (OPS_SYSTEM), or move the data directory away if it is not needed."
        )
    if said is not None and said.system != repository.layout.system:
        said = None
    route, listing = find_route(repository, moment, backup_id)
    plan = InPlacePlan(
        data_dir=data_dir,
        moment=moment,
        backup_id=backup_id,
        database=str(conninfo_to_dict(dsn).get("dbname") or "postgres"),
        route=route,
        aside=data_dir.with_name(f"{data_dir.name}.before-{utc_now():%Y%m%dT%H%M%SZ}") if there else None,
        is_running=running,
        log=said if running and said else ours,
        elsewhere=describe(dsn) if said and not said.follows and not running else None,
        earlier=_earlier(beside, route, backup_id),
    )
    if plan.earlier is None and not beside.new.exists():
        way_in(settings, repository, plan, route, listing)
    return plan


def way_in(
    settings: Settings, repository: Repository, plan: InPlacePlan, route: Route, listing: WalListing
) -> RestorePlan:
    """How the new data directory is made beside the old one, with all that can be known to stand in the way.

    Raises:
        RefusedError: There is too little room, or no right to write.
        ConfigurationError: No key of ours opens the backup, or PostgreSQL's account cannot get there.
        StorageError: The bucket did not answer.
    """
    folder = plan.data_dir.with_name(f"{plan.data_dir.name}.tablespaces-{route.backup.id}")
    spaces = {space.oid: folder / str(space.oid) for space in route.backup.tablespaces}
    chosen = run.plan(route, plan.beside.new, spaces, repository.chain(route.backup))
    require_backups(repository, chosen.chain)
    require_wal(repository, route.reach, listing)
    require_way(settings, chosen)
    return chosen


def _require_alone(beside: Beside) -> None:
    if beside.lock.exists():
        with beside.alone(new=False):
            pass


def _require_movable(beside: Beside) -> None:
    parent = beside.data_dir.parent
    if not os.access(parent, os.W_OK | os.X_OK):
        raise RefusedError(
            f"{parent} is not there or cannot be written by us, and the data directory is moved within it: make it, "
            "or run this as an account that may."
        )
    for folder in (beside.data_dir, beside.new):
        if os.path.ismount(folder):
            raise RefusedError(
                f"{folder} is where a disk is mounted, so it cannot be moved: restore into another folder, "
                "`ops restore --target-dir`, and let the server's configuration name that."
            )


def _earlier(beside: Beside, route: Route, backup_id: str | None) -> Recovered | None:
    """What an earlier run has recovered, and has left for us to go on with."""
    found = beside.recovered()
    if found is not None and found.is_in(beside.new):
        if not found.is_for(route.moment, backup_id):
            raise RefusedError(
                f"An earlier run has recovered {beside.new} to {found.moment}, from "
                f"{found.backup_id or 'the best backup'}: finish that with the same --to, or remove it and "
                f"{beside.ready.name}."
            )
        return found
    if not beside.is_ours():
        raise RefusedError(f"{beside.new} is not ours: move it away; it would be overwritten.")
    # In its place, and the work is done; unless the server has run since and shipped what it wrote.
    done = found is not None and found.is_in(beside.data_dir)
    return found if found and done and found.is_for(route.moment, backup_id) and found.is_current(route) else None
