"""Whether what lies in a restored data directory is what PostgreSQL backed up; only then may it be started."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from ops_workflows.errors import DatabaseError, IntegrityError
from ops_workflows.postgres.account import Account
from ops_workflows.postgres.programs import Programs, run
from ops_workflows.repository.layout import MANIFEST
from ops_workflows.repository.manifest import parse_manifest
from ops_workflows.restore.extract import CONTROL, HELD_BACK
from ops_workflows.restore.plan import Link
from ops_workflows.restore.target import MARK, sync_folder

_SLOWEST = 20_000_000  # bytes per second that hashing may come down to before it is given up
_START_SECONDS = 60


def verify(link: Link, programs: Programs, account: Account | None, *, alone: bool) -> None:
    """Hash every file against the manifest and parse the WAL, with pg_verifybackup; then make the directory startable.

    https://www.postgresql.org/docs/current/app-pgverifybackup.html

    Args:
        link: What to verify.
        programs: Of the backup's major version.
        account: Whom they run as.
        alone: Whether it is to be started as it is. What is yet to be combined has to stay as it was, for the whole is
            verified by the last one's own checksums.

    Raises:
        IntegrityError: Something is missing, too many, altered, or the WAL has a gap. The directory stays, unstartable.
    """
    _verify_files(link, programs, account, ignored=(CONTROL, HELD_BACK, MARK, *_marks(link)))
    _check_control(link)
    if alone:
        point_tablespaces(link)
    (link.target / HELD_BACK).rename(link.target / CONTROL)
    sync_folder(link.target / "global")


def verify_whole(link: Link, programs: Programs, account: Account | None) -> None:
    """The same for what incremental backups were put together into, which the manifest that came with it describes.

    Raises:
        IntegrityError: Something is missing, too many or altered.
    """
    _verify_files(link, programs, account, ignored=())


def _verify_files(link: Link, programs: Programs, account: Account | None, *, ignored: Iterable[str]) -> None:
    timeout = _START_SECONDS + link.backup.database_bytes / _SLOWEST
    options = [f"--ignore={name}" for name in ignored]
    try:
        run(programs.path("pg_verifybackup"), *options, link.target, timeout=timeout, account=account)
    except DatabaseError as error:
        raise IntegrityError(
            f"Backup {link.backup.id} as restored into {link.target} is not what was backed up: {error}"
        ) from error


def _marks(link: Link) -> list[str]:
    return [f"pg_tblspc/{oid}/{MARK}" for oid in link.tablespaces]


def _check_control(link: Link) -> None:
    name = f"the manifest of backup {link.backup.id}"
    expected = parse_manifest((link.target / MANIFEST).read_bytes(), name).get(CONTROL)
    content = (link.target / HELD_BACK).read_bytes()
    if expected is None or hashlib.sha256(content).hexdigest() != expected.sha256:
        raise IntegrityError(f"Backup {link.backup.id}: {CONTROL} is not what {name} says.")


def point_tablespaces(link: Link) -> None:
    """Write down where the tablespaces are now."""
    # Recovery makes the links anew from this file, so it has to name the places where the tablespaces are now.
    if link.tablespaces:
        lines = "".join(f"{oid} {_escaped(folder)}\n" for oid, folder in link.tablespaces.items())
        (link.target / "tablespace_map").write_text(lines)


def _escaped(folder: Path) -> str:
    return str(folder).replace("\\", "\\\\").replace("\n", "\\\n").replace("\r", "\\\r")
