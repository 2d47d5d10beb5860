"""`ops query-log`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops_workflows.cli.backups import Json
from ops_workflows.settings import Settings

if TYPE_CHECKING:
    from ops_workflows.analytics.months_keep import Kept
    from ops_workflows.analytics.months_plan import MonthsPlan


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command(name="query-log")(query_log)


def query_log(
    *,
    apply: Annotated[bool, typer.Option("--apply", help="Carry the plan out.")] = False,
    keep_months: Annotated[
        int | None,
        typer.Option(
            min=1, max=1200, help="Whole months before this one to keep. Default: OPS_QUERY_LOG_KEEP_MONTHS, else all."
        ),
    ] = None,
    export: Annotated[
        bool | None,
        typer.Option(
            "--export/--no-export",
            help="Whether each month goes into the bucket as Parquet first. Default: OPS_QUERY_LOG_EXPORT.",
        ),
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="Most months to drop at once, the oldest first.")] = 12,
    json: Json = False,
) -> None:
    """Show which months of the raw query log are made, kept and dropped, and why; with --apply, do so.

    A month goes only if it is older than the limit, its statistics agree with it, and a proved backup holds all of it.
    """
    from ops_workflows.analytics.months_keep import keep_months as keep
    from ops_workflows.analytics.months_keep import plan_months
    from ops_workflows.cli.render import as_json, facts, progress

    settings = Settings.read()
    if keep_months is not None:
        settings = settings.model_copy(update={"query_log_keep_months": keep_months})
    if not apply:
        plan = plan_months(settings, most=most)
        if json:
            as_json(_plan_for_machines(plan))
        else:
            _show(plan)
            facts({"to do": "ops query-log --apply" if plan.to_make or plan.to_drop else "nothing"})
        return
    parquet = settings.query_log_export if export is None else export
    with progress(quiet=json) as bars:
        done = keep(settings, bars, (lambda _plan: None) if json else _show, parquet=parquet, most=most)
    if json:
        as_json(_plan_for_machines(done.plan) | {"applied": _done_for_machines(done)})
    else:
        facts({"made": _names(done.made), "dropped": _names([each.month for each in done.dropped])})


def _show(plan: "MonthsPlan") -> None:
    from ops_workflows.cli.render import facts, size, table

    table(
        ("month", "rows", "size", "", "why"),
        [
            (
                str(each.partition.month),
                f"{each.rows:,}",
                size(each.partition.bytes),
                each.verdict.value,
                "; ".join(each.reasons),
            )
            for each in plan.decisions
        ],
        right=("rows", "size"),
    )
    facts(
        {"to make": _names(plan.to_make), "to drop": _names([each.partition.month for each in plan.to_drop])}
        | {f"note {number}": note for number, note in enumerate(plan.notes, start=1)}
    )


def _names(months: Any) -> str:
    return ", ".join(map(str, months)) or "none"


def _plan_for_machines(plan: "MonthsPlan") -> dict[str, Any]:
    return {
        "to_make": [str(month) for month in plan.to_make],
        "months": [
            {
                "month": str(each.partition.month),
                "table": each.partition.name,
                "rows": each.rows,
                "bytes": each.partition.bytes,
                "verdict": each.verdict,
                "reasons": each.reasons,
                "backup_id": each.backup_id or None,
            }
            for each in plan.decisions
        ],
        "notes": plan.notes,
    }


def _done_for_machines(done: "Kept") -> dict[str, Any]:
    return {
        "made": [str(month) for month in done.made],
        "dropped": [
            {"month": str(each.month), "rows": each.rows, "bytes": each.bytes, "exported": each.exported}
            for each in done.dropped
        ],
    }
