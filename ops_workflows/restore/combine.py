"""A full backup and the incremental ones after it, put together into the data directory that they describe.

Each link has been verified by itself before, because pg_combinebackup does not notice damage: what is damaged in one of
them would come out of it with a manifest that says all is well.
https://www.postgresql.org/docs/current/app-pgcombinebackup.html
"""

import shutil
from pathlib import Path

from ops_workflows.postgres.account import Account
from ops_workflows.postgres.programs import Programs, run
from ops_workflows.restore.extract import CONTROL
from ops_workflows.restore.plan import LINKS, Link, RestorePlan
from ops_workflows.restore.target import sync_folder
from ops_workflows.restore.verify import point_tablespaces, verify_whole

_HARD_LINKS = 18  # since when it can link unchanged files into the result, which takes neither time nor room
_SLOWEST = 10_000_000  # bytes per second
_START_SECONDS = 60


def combine(plan: RestorePlan, programs: Programs, account: Account | None) -> None:
    """Put the links of a plan together into its target, verify the result, and make it startable as the last step.

    Raises:
        DatabaseError: The links do not fit together.
        IntegrityError: The result is not what its manifest says.
    """
    folder = plan.target / LINKS
    whole, spaces = folder / "whole", folder / "whole.tablespaces"
    last = plan.links[-1]
    options = ["--manifest-checksums=SHA256", f"--output={whole}"]
    mapped = ((_escaped(old), _escaped(spaces / str(oid))) for oid, old in last.tablespaces.items())
    options += [f"--tablespace-mapping={old}={new}" for old, new in mapped]
    if programs.major >= _HARD_LINKS:
        options.append("--link")
    size = plan.backup.database_bytes + sum(backup.archived_bytes for backup in plan.chain)
    timeout = _START_SECONDS + size / _SLOWEST
    links = [link.target for link in plan.links]
    run(programs.path("pg_combinebackup"), *options, *links, timeout=timeout, account=account)
    result = Link(plan.backup, whole, {oid: spaces / str(oid) for oid in last.tablespaces})
    verify_whole(result, programs, account)
    for oid, place in plan.tablespaces.items():
        _move_content(spaces / str(oid), place)
        (whole / "pg_tblspc" / str(oid)).unlink()
        (whole / "pg_tblspc" / str(oid)).symlink_to(place)
    point_tablespaces(Link(plan.backup, whole, plan.tablespaces))
    held_back = folder / "pg_control"
    (whole / CONTROL).rename(held_back)
    _move_content(whole, plan.target)
    held_back.rename(plan.target / CONTROL)
    sync_folder(plan.target / "global")
    shutil.rmtree(folder)


def _move_content(source: Path, target: Path) -> None:
    for entry in source.iterdir():
        shutil.move(entry, target / entry.name)
    sync_folder(target)


def _escaped(folder: Path) -> str:
    return str(folder).replace("=", "\\=")  # as pg_combinebackup reads it, for the other one comes between the two
