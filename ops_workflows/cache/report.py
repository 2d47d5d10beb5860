"""What came of pruning as plain figures, the same for Dagster's metadata and for JSON."""

from ops_workflows.cache.keyspace import ServerFacts, Swept
from ops_workflows.cache.prune import Pruned, PrunePlan
from ops_workflows.cache.table import Left, TableState

type Figures = dict[str, int | float | str | bool]


def plan_figures(plan: PrunePlan) -> Figures:
    """Of what would go."""
    cutoffs: Figures = {f"{reason}_before": moment.isoformat() for reason, moment in plan.cutoffs.items()}
    counts: Figures = {"expired_rows": plan.expired, "unexpiring_rows": plan.unexpiring}
    return counts | cutoffs | left_figures(plan.left) | state_figures(plan.table)


def pruned_figures(pruned: Pruned) -> Figures:
    """Of a run."""
    figures: Figures = {
        "expired_rows": pruned.rows["expired"],
        "unexpiring_rows": pruned.rows["unexpiring"],
        "row_bytes": pruned.row_bytes,
        "batches": pruned.batches,
        "seconds": round(pruned.seconds, 2),
        "paused_seconds": round(sum(pruned.pauses.values()), 2),
        "pauses": "; ".join(f"{reason}: {seconds:.1f} s" for reason, seconds in pruned.pauses.items()) or "none",
        "ended": pruned.ended,
        **({} if pruned.stay is None else {"rows_that_stay": pruned.stay}),
        "deleting_seconds": round(pruned.deleting_seconds, 2),
        "vacuum": pruned.vacuum,
        "vacuum_seconds": round(pruned.vacuum_seconds, 2),
        "notes": "\n".join(pruned.notes) or "none",
    }
    states = state_figures(pruned.before, "_before") | state_figures(pruned.after, "_after")
    return figures | left_figures(pruned.left) | states


def left_figures(left: Left | None) -> Figures:
    """Of what is not touched, and deserves a look."""
    if left is None:
        return {}
    figures: Figures = {"far_rows": left.far}
    return figures | {"last_expiry": left.last} if left.far else figures


def state_figures(state: TableState, when: str = "") -> Figures:
    """Of the table; its names end in `when`."""
    figures: Figures = {f"live_rows{when}": state.live_rows, f"dead_rows{when}": state.dead_rows}
    if state.total_bytes is not None:
        figures[f"table_bytes{when}"] = state.total_bytes
    if state.bloat is not None:
        name = "bloat" if state.bloat_measured else "bloat_estimate"
        figures[f"{name}{when}"] = round(state.bloat, 4)
    elif state.total_bytes is not None:
        figures[f"bloat_unknown{when}"] = True
    return figures


def swept_figures(swept: Swept) -> Figures:
    """Of a sweep through the keys."""
    figures: Figures = {
        "keys_scanned": swept.scanned,
        "keys_given_expiry": swept.given_expiry,
        "keys_unlinked": swept.unlinked,
        "keys_complete": swept.complete,
        "keys_seconds": round(swept.seconds, 2),
        "keys_notes": "\n".join(swept.notes) or "none",
        "memory_bytes_before": swept.before.used_bytes,
    }
    return figures | server_figures(swept.after)


def server_figures(facts: ServerFacts) -> Figures:
    """Of the server."""
    figures: Figures = {
        "keys": sum(facts.databases.values()),
        "memory_bytes": facts.used_bytes,
        "memory_most_bytes": facts.most_bytes,
        "eviction_policy": facts.policy,
        "evicted_keys": facts.evicted,
        "expired_keys": facts.expired,
        "loading": facts.loading,
    }
    return figures if facts.hit_rate is None else figures | {"hit_rate": round(facts.hit_rate, 4)}
