"""How far the log goes of the cluster that a restore in place replaces, and what of it the bucket lacks."""

import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

from ops_workflows.errors import DatabaseError, OpsError
from ops_workflows.postgres.connection import connect
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.postgres.programs import find_programs, run
from ops_workflows.repository.reach import Reach
from ops_workflows.restore.extract import CONTROL
from ops_workflows.restore.held import HELD, is_held
from ops_workflows.settings import Settings

_SERVER = files(__package__).joinpath("old_log.sql").read_text().encode()
_CONTROL_LINE = re.compile(r"^(.+?):\s+(.+)$", re.MULTILINE)
_ORDERLY = {"shut down", "shut down in recovery"}


@dataclass(frozen=True, slots=True)
class OldLog:
    """How far a cluster's log goes.

    Attributes:
        system: PostgreSQL's system identifier.
        timeline: On which timeline.
        end: Where it ends.
        is_exact: Whether nothing was written behind that; after a crash, the last checkpoint is all that is known.
        acknowledged: How far the receiver that streams from the server has been told that its repository has the log;
            None where none streams.
        follows: Whether the server is a standby.
    """

    system: str
    timeline: int
    end: Lsn
    is_exact: bool
    acknowledged: Lsn | None = None
    follows: bool = False

    def is_shipped_along(self, reach: Reach) -> bool:
        """Whether a receiver ships it to where a way was found; another repository, such as a copy, lags behind."""
        return self.acknowledged is not None and reach.timeline == self.timeline and self.acknowledged <= reach.end

    def is_whole_in(self, reach: Reach) -> bool:
        """Whether a way has all of it; of an orderly shutdown only the record that says so may be missing."""
        return self.is_exact and reach.timeline == self.timeline and self.end <= reach.end


def log_of_server(settings: Settings) -> OldLog | None:
    """What the server at OPS_BACKUP_DSN says; None when it does not answer."""
    with (
        suppress(DatabaseError),
        connect(
            settings.require("backup_dsn"), timeout=settings.connect_timeout_seconds, statement_seconds=20
        ) as connection,
    ):
        row = connection.execute(_SERVER, {"slot": settings.wal_slot}).fetchone()
        if row is not None:
            system, timeline, end, follows, acknowledged = row
            known = Lsn.parse(acknowledged) if acknowledged else None
            return OldLog(system, timeline, Lsn.parse(end), is_exact=True, acknowledged=known, follows=follows)
    return None


def log_of_directory(settings: Settings, data_dir: Path) -> OldLog | None:
    """What a data directory says, held or not; None when it cannot be read, or we have no programs of its version."""
    with suppress(OpsError, OSError, ValueError, KeyError), TemporaryDirectory() as folder:
        copy = Path(folder, CONTROL)
        copy.parent.mkdir()
        shutil.copyfile(data_dir / (HELD if is_held(data_dir) else CONTROL), copy)
        programs = find_programs(settings.pg_bin_dir, int((data_dir / "PG_VERSION").read_text()))
        said = run(programs.path("pg_controldata"), folder, timeout=20)
        facts = dict(_CONTROL_LINE.findall(said))
        if "WARNING" not in facts:  # the file is damaged
            return OldLog(
                system=facts["Database system identifier"],
                timeline=int(facts["Latest checkpoint's TimeLineID"]),
                end=Lsn.parse(facts["Latest checkpoint location"]),
                is_exact=facts["Database cluster state"] in _ORDERLY,
            )
    return None


def left_behind(log: OldLog | None, reach: Reach, *, running: bool) -> str:
    """What the end of the WAL in the bucket, reached by a way, lacks of the old database, for a person."""
    if log is None:
        return "what the old data directory has that the bucket lacks cannot be told: its pg_control cannot be read"
    if log.timeline != reach.timeline:
        return (
            f"the old data directory is on timeline {log.timeline}, the bucket's newest is {reach.timeline}: what was "
            "written since they parted will be in the old data directory only"
        )
    missing = f"{max(0, log.end - reach.end):,} bytes of WAL"
    if running:
        return _left_by_stop(log, reach, missing)
    if log.is_whole_in(reach):
        return "the bucket has all that the old data directory has"
    if log.is_exact:
        return f"the bucket lacks the last {missing}, to {log.end}: they will be in the old data directory only"
    return (
        f"the server there has ended without a shutdown, and the bucket has its log to {reach.end}: what was written "
        f"after that, {missing} or more, will be in the old data directory only"
    )


def _left_by_stop(log: OldLog, reach: Reach, missing: str) -> str:
    if log.is_shipped_along(reach):
        return "the receiver that streams from that server ships its last WAL into the bucket first"
    return (
        f"no receiver ships that server's last WAL into the bucket, which has it to {reach.end}: what is written after "
        f"that, {missing} so far, will be in the old data directory only"
    )
