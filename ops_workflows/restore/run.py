"""The one restore path: drills, checks and people all come this way. Plan, fetch and extract, verify; then start."""

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ops_workflows.errors import ConfigurationError, DatabaseError, IntegrityError, RefusedError
from ops_workflows.postgres.account import can_reach, server_account
from ops_workflows.postgres.connection import connect
from ops_workflows.postgres.processes import size_of, wait_until
from ops_workflows.postgres.programs import find_programs
from ops_workflows.postgres.server import Server
from ops_workflows.progress import SILENT, Progress
from ops_workflows.repository.backup import Backup
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.layout import RECORD
from ops_workflows.repository.leases import reading
from ops_workflows.repository.wal import WalListing
from ops_workflows.restore.choose import Route, describe_window, own_end
from ops_workflows.restore.combine import combine
from ops_workflows.restore.extract import extract
from ops_workflows.restore.isolated import isolated_server, recovery_settings, require_socket
from ops_workflows.restore.moment import AtName, AtTime, BackupEnd, Latest
from ops_workflows.restore.plan import RestorePlan, plan_restore
from ops_workflows.restore.readable import require_backups, require_wal
from ops_workflows.restore.tablespaces import require_apart, require_apart_in_archive, stopped_at
from ops_workflows.restore.target import Folder, filling
from ops_workflows.restore.verify import verify
from ops_workflows.restore.wal_feed import WalFeed
from ops_workflows.settings import Settings

_RECOVERY_SECONDS = 600
_REPLAYED = re.compile(r"redo done at .*elapsed: ([\d.]+) s")
_SLOWEST_REPLAY = 4_000_000  # bytes of WAL per second, below which replay is given up
_RAN_OUT = "recovery ended before configured recovery target was reached"
_CONSISTENT = "consistent recovery state reached"


@dataclass(slots=True)
class Restored:
    """A data directory that was restored and verified.

    Attributes:
        route: From what it was restored, and to which moment it is to be recovered.
        directory: The data directory.
        seconds: How long each phase took, in order.
    """

    route: Route
    directory: Path
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def backup(self) -> Backup:
        """What it was restored from."""
        return self.route.backup

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time what happens inside a `with`."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = time.monotonic() - began


def plan(
    wanted: Backup | Route,
    target: Path,
    tablespaces: Mapping[int, Path] | None = None,
    chain: tuple[Backup, ...] | None = None,
) -> RestorePlan:
    """Look at the folders and decide. Tablespaces that are not mapped go beside the target, into `TARGET.tablespaces`.

    Args:
        wanted: A route to a moment, or a backup, which is then restored to its own end.
        target: The new data directory.
        tablespaces: By oid, where a tablespace goes.
        chain: From `Repository.chain`; needed where the backup is incremental.

    Raises:
        RefusedError: It cannot be done; nothing has been touched.
    """
    route = wanted if isinstance(wanted, Route) else own_end(wanted)
    target = target.absolute()
    beside = target.with_name(f"{target.name}.tablespaces")
    places = {space.oid: beside / str(space.oid) for space in route.backup.tablespaces} | dict(tablespaces or {})
    chain = chain or (route.backup,)
    if chain[0].parent is not None or chain[-1] != route.backup:
        raise RefusedError(f"Backup {route.backup.id} is incremental: it needs the backups that it builds on.")
    return plan_restore(route, chain, Folder.look(target), {oid: Folder.look(place) for oid, place in places.items()})


def restore(settings: Settings, repository: Repository, chosen: RestorePlan, progress: Progress = SILENT) -> Restored:
    """Carry out a plan up to a verified data directory, which is not started.

    Raises:
        ConfigurationError: The programs are of another major version than the backup, no key of ours opens it, or the
            account that PostgreSQL runs as cannot get to the target.
        IntegrityError: The backup is damaged: the text names the object or file.
        StorageError: The bucket did not answer.
        RefusedError: The disk is full, another restore is at work there, or retention has just let go of the backup.
    """
    require_backups(repository, chosen.chain)
    require_way(settings, chosen)
    with _leased(repository, chosen, progress), filling(chosen.folders, chosen.clear):
        return _restore(settings, repository, chosen, progress)


def _restore(settings: Settings, repository: Repository, chosen: RestorePlan, progress: Progress) -> Restored:
    account = server_account(settings.server_user)
    programs = find_programs(settings.pg_bin_dir, chosen.backup.major)
    restored = Restored(chosen.route, chosen.target)
    with restored.phase("fetch and extract"):
        extract(repository, chosen, threads=settings.s3_threads, owner=account, progress=progress)
    with restored.phase("verify"):
        progress.begin("verify", None)
        for link in chosen.links:
            verify(link, programs, account, alone=len(chosen.links) == 1)
    if len(chosen.chain) > 1:
        with restored.phase("combine"):
            progress.begin("combine", None)
            combine(chosen, programs, account)
    return restored


@contextmanager
def running(
    settings: Settings,
    restored: Restored,
    progress: Progress = SILENT,
    *,
    feed: WalFeed | None = None,
    keep: bool = False,
    stay: bool = False,
) -> Iterator[Server]:
    """The restored server, recovered and answering on a private socket, for the length of a `with`; then stopped.

    Args:
        settings: Which programs and which account.
        restored: What `restore` made.
        progress: Hears of the phase.
        feed: Gives the WAL of the route; None where the archives are enough.
        keep: Stop it only if something went wrong.
        stay: Pause at the moment, readable, instead of being promoted.

    Raises:
        DatabaseError: It did not start or did not come to the moment; with its last words.
        IntegrityError: WAL that the bucket lists could not be read from it.
        RefusedError: Replay would write into a tablespace that is not the restore's own.
        ConfigurationError: The log makes a tablespace in a folder that this machine lacks.
    """
    progress.begin("recover and start", None)
    began = time.monotonic()
    server = _start(settings, restored, progress, feed, stay=stay)
    replay = _replay_seconds(restored.directory)
    restored.seconds |= {"replay": replay, "boot": max(0.0, time.monotonic() - began - replay)}
    well = False
    try:
        yield server
        well = True
    finally:
        if not (keep and well):
            server.stop()


@contextmanager
def recovered(
    settings: Settings,
    repository: Repository,
    chosen: RestorePlan,
    listing: WalListing,
    progress: Progress = SILENT,
    *,
    keep: bool = False,
    stay: bool = False,
) -> Iterator[tuple[Restored, Server]]:
    """Everything at once: restore, and recover to the plan's moment, WAL being fetched while the base is extracted.

    The arguments and errors are those of `restore` and `running`.
    """
    if stay and isinstance(chosen.route.moment, Latest):
        raise RefusedError("There is nothing behind the latest moment to stay before: omit --stay, or name a time.")
    require_backups(repository, chosen.chain)
    require_wal(repository, chosen.route.reach, listing)
    require_way(settings, chosen)
    feed = None
    with _leased(repository, chosen, progress), ExitStack() as stack:
        if chosen.route.reach.legs:
            folder = _run_dir(chosen.target) / "wal"
            owner = server_account(settings.server_user)
            feed = WalFeed(repository, chosen.route.reach, listing, folder, threads=settings.s3_threads, owner=owner)
            stack.enter_context(feed.running())
        # Marked until it has recovered: whoever is killed before that does the whole again.
        with filling(chosen.folders, chosen.clear):
            restored = _restore(settings, repository, chosen, progress)
            server = stack.enter_context(running(settings, restored, progress, feed=feed, keep=keep, stay=stay))
        yield restored, server


def require_way(settings: Settings, chosen: RestorePlan) -> None:
    """See to it that a plan can be carried out here.

    Raises:
        ConfigurationError: The programs are of another major version, or the account that PostgreSQL runs as cannot get
            to a folder, or the folder's path does not do for a server.
        RefusedError: Replay may write into a tablespace of the living database.
    """
    account = server_account(settings.server_user)
    find_programs(settings.pg_bin_dir, chosen.backup.major)
    for folder in chosen.folders:
        # The folder itself will belong to the account.
        nearest = next(parent for parent in folder.parents if parent.exists())
        if not can_reach(nearest, account):
            raise ConfigurationError(
                f"{folder} cannot be reached by {account.name if account else 'us'}, whom PostgreSQL runs as: choose "
                "a folder that can be, or set OPS_SERVER_USER."
            )
    if chosen.starts:
        beside = _run_dir(chosen.target)
        require_socket(beside)
        seen = Folder.look(beside)
        if not (seen.is_folder and seen.writable):
            raise ConfigurationError(
                f"{beside} cannot be made or written, and the restored server needs it: choose a target whose parent "
                "folder we can write."
            )
    require_apart(settings, chosen)


def _leased(repository: Repository, chosen: RestorePlan, progress: Progress) -> AbstractContextManager[None]:
    records = [(backup.id, repository.layout.backup(backup.id, RECORD)) for backup in chosen.chain]
    return reading(repository, records, progress)


def _start(settings: Settings, restored: Restored, progress: Progress, feed: WalFeed | None, *, stay: bool) -> Server:
    account = server_account(settings.server_user)
    programs = find_programs(settings.pg_bin_dir, restored.backup.major)
    seconds = _RECOVERY_SECONDS + restored.route.wal_bytes / _SLOWEST_REPLAY

    def start(route: Route) -> Server:
        recovery = recovery_settings(route, feed.restore_command if feed else None, stay=stay)
        server = isolated_server(programs, restored.directory, _run_dir(restored.directory), recovery, account)
        server.start(seconds)
        if stay:
            _wait_until_there(server, restored, seconds)
        return server

    require_apart_in_archive(programs, restored.directory, restored.backup, account)
    log = _run_dir(restored.directory) / "server.log"
    before = size_of(log)
    try:
        return start(restored.route)
    except DatabaseError:
        if feed is not None and (failure := feed.failure()):
            raise IntegrityError(f"Recovery stopped, since WAL could not be had: {failure}") from None
        said = log.read_bytes()[before:].decode(errors="replace") if log.exists() else ""
        if stopped := stopped_at(said, restored.directory, account):
            raise stopped from None
        is_cut_short = isinstance(restored.route.moment, BackupEnd) and _CONSISTENT not in said
        if _RAN_OUT not in said or is_cut_short:
            raise
    if refusal := _not_at_the_end(restored.route, stay=stay):
        raise RefusedError(refusal)
    progress.say(f"Nothing was committed after {restored.route.moment}: the end of the WAL is that moment.")
    return start(Route(Latest(), restored.route.reach))


def _not_at_the_end(route: Route, *, stay: bool) -> str | None:
    """Why a moment is not reached although all WAL was replayed; None where the end of the WAL is that moment.

    PostgreSQL stops at the first commit after a time, at the first record behind a place or behind the backup, and an
    idle database has none. All up to the moment is there all the same, if the WAL is known to be whole up to then.
    """
    moment, reach = route.moment, route.reach
    match moment:
        case AtName():
            return (
                f"{moment} is not in the WAL between {reach.backup.stop_lsn} and {reach.end}: the bucket holds nothing "
                "after that."
            )
        case AtTime(time) if not reach.holds_all(time):
            return (
                f"{moment} cannot be reached: the WAL ends at {reach.end} without a commit after it, and is not known "
                f"to hold all from before it. {describe_window([reach], gaps=[reach.gap] if reach.gap else [])} "
                "--to latest brings back what there is."
            )
    if stay:
        return f"Nothing was committed after {moment}, so there is nothing to stay before: omit --stay."
    return None


def _wait_until_there(server: Server, restored: Restored, seconds: float) -> None:
    """Wait until recovery has paused: the server can be read long before, as it was at earlier moments."""
    paused = False
    try:
        with connect(server.dsn("postgres", restored.backup.superuser)) as connection:

            def is_paused() -> bool:
                row = connection.execute("SELECT pg_get_wal_replay_pause_state() = 'paused'").fetchone()
                return bool(row and row[0])

            paused = wait_until(is_paused, seconds)
    finally:
        if not paused:
            server.stop("immediate")
    if not paused:
        raise DatabaseError(f"Recovery over {restored.directory} did not come to its moment within {seconds:.0f} s.")


def _replay_seconds(directory: Path) -> float:
    """How long the server says that it replayed WAL; 0 where it had none to replay, or has paused and says nothing."""
    log = _run_dir(directory) / "server.log"
    return sum(float(found) for found in _REPLAYED.findall(log.read_text(errors="replace")))


def _run_dir(target: Path) -> Path:
    return target.with_name(f"{target.name}.run")
