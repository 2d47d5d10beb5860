"""`ops retention | pin | unpin`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops_workflows.cli.backups import From, Json, System, settings_at
from ops_workflows.settings import Settings

if TYPE_CHECKING:
    from ops_workflows.backup.removal import Enforced
    from ops_workflows.repository.retention import RetentionPlan

Id = Annotated[str, typer.Argument(metavar="ID", help="A backup's id from `ops backups`, or `latest`.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(retention)
    app.command()(pin)
    app.command()(unpin)


def retention(
    *,
    apply: Annotated[bool, typer.Option("--apply", help="Carry the plan out; needs the database up.")] = False,
    system: System = None,
    json: Json = False,
) -> None:
    """Show which backups, dumps and WAL are kept and why; with --apply, delete the rest."""
    from ops_workflows.backup.retain import enforce
    from ops_workflows.cli.render import as_json, facts, progress
    from ops_workflows.errors import ConfigurationError
    from ops_workflows.repository.catalogue import open_repository
    from ops_workflows.repository.retention_facts import plan_retention

    settings = Settings.read()
    if not apply:
        plan = plan_retention(settings, open_repository(settings, system))
        if json:
            as_json(_plan_for_machines(plan))
        else:
            _show(plan)
            idle = not (plan.gone or plan.gone_dumps or plan.wal)
            facts({"to do": "nothing" if idle else "ops retention --apply"})
        return
    if system is not None:
        raise ConfigurationError("--apply works on the cluster that OPS_BACKUP_DSN names: leave --system out.")
    with progress(quiet=json) as bars:
        done = enforce(settings, bars, (lambda _plan: None) if json else _show)
    if json:
        as_json(_plan_for_machines(done.plan) | {"applied": _done_for_machines(done)})
    else:
        facts(
            {
                "let go": f"{len(done.backups)} backups, {len(done.dumps)} dumps, {done.wal_objects:,} WAL objects",
                "cleaned": f"{done.versions:,} old versions",
            }
        )


def pin(
    backup: Id,
    *,
    reason: Annotated[str, typer.Option(help="Why.")] = "",
    source: From = None,
    system: System = None,
) -> None:
    """Keep a backup, whatever the policy says."""
    from ops_workflows.repository.catalogue import open_repository
    from ops_workflows.repository.pins import pin as set_pin

    made = set_pin(open_repository(settings_at(source, system)), backup, reason)
    print(f"Backup {made.backup_id} is pinned: it stays until `ops unpin {made.backup_id}`.")


def unpin(backup: Id, *, source: From = None, system: System = None) -> None:
    """Leave a backup to the policy again."""
    from ops_workflows.repository.catalogue import open_repository
    from ops_workflows.repository.pins import unpin as remove_pin

    found = remove_pin(open_repository(settings_at(source, system)), backup)
    print(f"Backup {found} is left to the policy again." if found else f"Backup {backup} was not pinned.")


def _show(plan: "RetentionPlan") -> None:
    from ops_workflows.cli.render import facts, size, table, when

    table(
        ("backup", "finished (UTC)", "stored", "", "why"),
        [
            (
                decision.backup.id,
                when(decision.backup.finished_at),
                size(decision.backup.stored_bytes),
                "keep" if decision.keep else "let go",
                "; ".join(decision.reasons),
            )
            for decision in plan.decisions
        ]
        + [
            (
                f"{each.dump.id} (dump)",
                when(each.dump.finished_at),
                size(each.dump.stored_bytes),
                "keep" if each.keep else "let go",
                "; ".join(each.reasons),
            )
            for each in plan.dumps
        ],
        right=("stored",),
    )
    facts(
        {
            "backups": f"{len(plan.kept)} stay, {len(plan.gone)} go",
            "dumps": f"{len(plan.dumps) - len(plan.gone_dumps)} stay, {len(plan.gone_dumps)} go",
            "WAL": f"{len(plan.wal):,} objects go, {size(plan.wal_bytes)}",
            "frees": size(plan.freed_bytes),
        }
        | {f"note {number}": note for number, note in enumerate(plan.notes, start=1)}
    )


def _plan_for_machines(plan: "RetentionPlan") -> dict[str, Any]:
    return {
        "backups": [
            {
                "id": decision.backup.id,
                "finished_at": decision.backup.finished_at,
                "stored_bytes": decision.backup.stored_bytes,
                "keep": decision.keep,
                "reasons": decision.reasons,
            }
            for decision in plan.decisions
        ],
        "dumps": [
            {
                "id": each.dump.id,
                "finished_at": each.dump.finished_at,
                "stored_bytes": each.dump.stored_bytes,
                "keep": each.keep,
                "reasons": each.reasons,
            }
            for each in plan.dumps
        ],
        "wal": {"objects": len(plan.wal), "bytes": plan.wal_bytes},
        "freed_bytes": plan.freed_bytes,
        "notes": plan.notes,
    }


def _done_for_machines(done: "Enforced") -> dict[str, Any]:
    return {
        "backups": done.backups,
        "dumps": done.dumps,
        "wal_objects": done.wal_objects,
        "versions": done.versions,
        "said": done.said,
    }
