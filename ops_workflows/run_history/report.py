"""What came of pruning Dagster's history, as plain figures and as a table."""

from collections import Counter
from collections.abc import Iterator

from ops_workflows.run_history.plan import Reason
from ops_workflows.run_history.prune import PrunedHistory
from ops_workflows.run_history.size import Size
from ops_workflows.wording import as_markdown

type Figures = dict[str, int | float | str | bool]


def figures(done: PrunedHistory) -> Figures:
    """Of a run of pruning; in a dry run, of what would go."""
    kept: Figures = {f"runs_kept_{reason}": done.plan.kept.get(reason, 0) for reason in Reason}
    return {
        "runs_removed": len(done.plan.gone),
        "runs_left_to_next_time": done.plan.more,
        "runless_events_removed": done.runless_events,
        "check_evaluations_removed": done.check_evaluations,
        "ticks_removed": sum(done.ticks.values()),
        "seconds": round(done.seconds, 2),
        "notes": "\n".join(done.plan.notes) or "none",
        **kept,
        **_size(done.before, "_before"),
        **_size(done.after, ""),
    }


def _size(size: Size, when: str) -> Figures:
    return {
        f"total_bytes{when}": size.total_bytes,
        f"runs{when}": size.runs,
        f"events{when}": size.events,
        f"runless_events{when}": size.runless_events,
        f"check_evaluations{when}": size.check_evaluations,
        f"ticks{when}": size.ticks,
    }


def removed(done: PrunedHistory) -> str:
    """Which jobs' runs and whose ticks went, or would go, as a table."""
    return as_markdown(("what", "removed", "from", "to"), _removed(done))


def _removed(done: PrunedHistory) -> Iterator[tuple[str, ...]]:
    runs = done.plan.gone
    for job, number in Counter(run.job for run in runs).most_common():
        ended = sorted(run.ended for run in runs if run.job == job)
        yield f"runs of {job}", f"{number:,}", f"{ended[0]:%F %R}", f"{ended[-1]:%F %R}"
    for name, number in sorted(done.ticks.items()):
        yield f"ticks of {name}", f"{number:,}", "", ""
