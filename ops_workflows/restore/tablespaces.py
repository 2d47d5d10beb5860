"""Tablespaces that were made behind the start of a backup, which replay makes again at their old path and no other.

Those in a backup's record get places of their own. Of a later one PostgreSQL replays CREATE TABLESPACE where that was,
whatever lies there by now: on the primary's own machine the living tablespace, whose files replay would then write.
"""

import re
from contextlib import suppress
from pathlib import Path

from ops_workflows.errors import ConfigurationError, DatabaseError, RefusedError
from ops_workflows.postgres.account import Account
from ops_workflows.postgres.connection import connect
from ops_workflows.postgres.programs import Programs, run
from ops_workflows.repository.backup import Backup
from ops_workflows.restore.plan import RestorePlan
from ops_workflows.settings import Settings

_SECONDS = 20
_SYSTEM = "SELECT system_identifier::text FROM pg_control_system()"
_LIVING = "SELECT oid, pg_tablespace_location(oid) FROM pg_tablespace ORDER BY oid"
_MADE = re.compile(r'desc: CREATE (\d+) "(.+)"$', re.MULTILINE)
_SLOWEST = 20_000_000  # bytes of WAL per second that pg_waldump may come down to before it is given up
_START_SECONDS = 60
_STOPPED = re.compile(
    r'FATAL: +(?P<why>.+)\n(?:.*(?:DETAIL|HINT): .*\n)*.*CONTEXT: .* for Tablespace/CREATE: \d+ "(?P<location>.+)"$',
    re.MULTILINE,
)


def require_apart(settings: Settings, chosen: RestorePlan) -> None:
    """See to it that a recovery does not write into a tablespace of the living database.

    Only the database knows which there are, and nobody, before replay, whether the log up to a moment makes one of
    them; without a log behind the backup nothing can. Where the database does not answer, the recovery goes on: that
    is when it matters.

    Raises:
        RefusedError: It may; nothing has been touched.
    """
    if chosen.starts and chosen.route.reach.legs:
        _refuse(_living(settings, chosen.backup), chosen.backup, f"made after backup {chosen.backup.id} began")


def require_apart_in_archive(programs: Programs, data_dir: Path, backup: Backup, account: Account | None) -> None:
    """See to the same for what was made while the backup ran: the log of that lies in the restored directory.

    Raises:
        RefusedError: Replay would write into a folder that holds something.
        DatabaseError: Reading the log took too long.
    """
    options = [f"--path={data_dir / 'pg_wal'}", f"--timeline={backup.timeline}", "--rmgr=Tablespace"]
    options += [f"--start={backup.start_lsn}", f"--end={backup.stop_lsn}"]
    timeout = _START_SECONDS + (backup.stop_lsn - backup.start_lsn) / _SLOWEST
    # Where the log breaks off, pg_waldump fails, and replay ends: what counts is what it says before that.
    program = programs.path("pg_waldump")
    said = run(Path("/bin/sh"), "-c", '"$@" || :', "sh", program, *options, timeout=timeout, account=account)
    _refuse({int(oid): Path(place) for oid, place in _MADE.findall(said)}, backup, f"made while backup {backup.id} ran")


def stopped_at(said: str, data_dir: Path, account: Account | None) -> ConfigurationError | None:
    """Why recovery could not make a tablespace and has ended, from the log of its server; None if that is not why."""
    found = _STOPPED.search(said)
    if found is None:
        return None
    owner = account.name if account else "us"
    return ConfigurationError(
        f"Recovery over {data_dir} stopped where its log makes a tablespace in {found['location']} "
        f"({found['why']}): make that folder on this machine, empty and owned by {owner}, and do this again."
    )


def _living(settings: Settings, backup: Backup) -> dict[int, Path]:
    """The tablespaces of the database that the settings name, if it answers and is the one that was backed up."""
    if settings.backup_dsn is None:
        return {}
    dsn, timeout = settings.require("backup_dsn"), settings.connect_timeout_seconds
    with (
        suppress(DatabaseError),
        connect(dsn, timeout=timeout, statement_seconds=_SECONDS, application_name="ops_workflows") as connection,
    ):
        if connection.execute(_SYSTEM).fetchone() == (backup.system,):
            # A relative one lies in the data directory, and replay makes it in its own; the built-in ones have none.
            return {oid: Path(place) for oid, place in connection.execute(_LIVING) if place.startswith("/")}
    return {}


def _refuse(found: dict[int, Path], backup: Backup, made: str) -> None:
    known = {space.oid for space in backup.tablespaces}
    for oid, location in found.items():
        if oid not in known and _holds_something(location):
            raise RefusedError(
                f"Tablespace {oid} was {made}, and replay would write into {location}, which on this machine holds "
                "something: take a new base backup first (`ops backup`) and recover from that, or restore on another "
                "machine."
            )


def _holds_something(folder: Path) -> bool:
    try:
        return any(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # somebody else's: what we may not look into, replay could not write either
        return True
