"""`ops mirror`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops_workflows.cli.backups import Json
from ops_workflows.settings import Settings

if TYPE_CHECKING:
    from ops_workflows.backup.mirror import Mirrored


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(mirror)


def mirror(
    *,
    apply: Annotated[bool, typer.Option("--apply/--dry-run", help="Copy, or only say what would be copied.")] = True,
    json: Json = False,
) -> None:
    """Copy finished backups, dumps and WAL to OPS_MIRROR_URL, verify the copies, and let its old ones go."""
    from ops_workflows.backup.mirror import mirror as carry_out
    from ops_workflows.cli.render import as_json, facts, progress

    with progress(quiet=json) as bars:
        done = carry_out(Settings.read(), bars, apply=apply)
    if json:
        as_json([_for_machines(each) for each in done])
        return
    for each in done:
        facts({"cluster": each.system} | (_done(each) if apply else _planned(each)))


def _planned(each: "Mirrored") -> dict[str, str]:
    from ops_workflows.cli.render import size

    plan = each.plan
    names = ", ".join(whole.id for whole in plan.wholes)
    return {
        "to copy": f"{len(plan.wholes)} backups and dumps{f': {names}' if names else ''}",
        "WAL": f"{len(plan.wal):,} objects",
        "bytes": size(plan.size),
        "to do": "nothing" if plan.is_empty else "ops mirror --apply",
    }


def _done(each: "Mirrored") -> dict[str, str]:
    from ops_workflows.cli.render import size

    copied, verified, enforced = each.copied, each.verified, each.enforced
    let_go = "nothing"
    if enforced and (enforced.backups or enforced.dumps or enforced.wal_objects):
        let_go = f"{len(enforced.backups)} backups, {len(enforced.dumps)} dumps, {enforced.wal_objects:,} WAL objects"
    return {
        "copied": f"{copied['backups']} backups, {copied['dumps']} dumps, {copied['exports']} exports, "
        f"{copied['wal']:,} WAL objects, {size(each.copied_bytes)}",
        "verified": f"{verified.by_checksum:,} objects by the server's SHA-256, {verified.by_reading:,} read back",
        "let go": let_go,
    }


def _for_machines(each: "Mirrored") -> dict[str, Any]:
    plan, enforced = each.plan, each.enforced
    return {
        "system": each.system,
        "planned": {
            "backups_and_dumps": [whole.id for whole in plan.wholes],
            "wal_objects": len(plan.wal),
            "bytes": plan.size,
        },
        "copied": {what: each.copied[what] for what in ("backups", "dumps", "exports", "wal", "proofs", "pins")},
        "copied_bytes": each.copied_bytes,
        "verified": {"by_checksum": each.verified.by_checksum, "by_reading": each.verified.by_reading},
        "let_go": {
            "backups": enforced.backups if enforced else (),
            "dumps": enforced.dumps if enforced else (),
            "wal_objects": enforced.wal_objects if enforced else 0,
        },
    }
