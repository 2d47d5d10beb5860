"""The page of a restore drill, for people: one HTML file that needs nothing else, fit to be shown to an auditor."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from importlib.resources import files

from jinja2 import Environment, StrictUndefined, Template

from ops_workflows.proof import charts
from ops_workflows.proof.charts import Bars, History, Measure, bars, history, span
from ops_workflows.repository.backup import utc_now
from ops_workflows.repository.drills import DRILL, DrillRecord

CHECK = "check: "  # what the names of phases begin with that the clock did not count
_THOUSAND = 1000
_PASSES_IF = {
    "booted": "PostgreSQL starts from the backup and reaches consistency",
    "sound": "pg_amcheck and a full read of every table find nothing",
    "exact": "what was committed before the moment is there, and what was committed after it is not",
    "smoke": "the application's own queries have the answers that they must have",
}


@dataclass(frozen=True, slots=True)
class Figure:
    """A measure beside its objective.

    Attributes:
        kept: What the drill's own check says; None if it could not say.
        seconds: None if it is not known.
        past: It, over the drills.
    """

    name: str
    title: str
    means: str
    kept: bool | None
    seconds: float | None
    objective: int
    past: History


def report(drill: DrillRecord, past: Sequence[DrillRecord]) -> str:
    """Write a drill's page.

    Args:
        drill: Which.
        past: Drills before it, oldest first; those that are not before it are left out.
    """
    shown = [*(each for each in past if each.id < drill.id), drill]
    clocked = {name: seconds for name, seconds in drill.seconds.items() if not name.startswith(CHECK)}
    checking = {name.removeprefix(CHECK): took for name, took in drill.seconds.items() if name.startswith(CHECK)}
    phases: list[tuple[str, Bars]] = [
        ("On the clock", bars(clocked)),
        ("After the clock stopped: checks", bars(checking)),
    ]
    return _template().render(
        drill=drill,
        drills=shown,
        verdict=_verdict(drill),
        figures=_figures(drill, shown),
        phases=phases,
        passes_if=_PASSES_IF,
        made_at=utc_now(),
        made_by=version("ops-workflows"),
        made_from=DRILL,
    )


def size(count: float) -> str:
    """Bytes, for a person."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < _THOUSAND:
            return f"{count:,.0f} B" if unit == "B" else f"{count:,.1f} {unit}"
        count /= _THOUSAND
    return f"{count:,.1f} TB"


def when(moment: datetime) -> str:
    """A moment, in UTC, to the second."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _verdict(drill: DrillRecord) -> str:
    failed = [check.name for check in drill.checks if check.passed is False]
    if failed:
        return f"Failed: {', '.join(failed)}. What was found is written below."
    if not drill.passed:
        return "No check failed, but a drill passes only if both RTO and RPO were measured, and one was not."
    unseen = [check.name for check in drill.checks if check.passed is None]
    back = f"The database answered {span(drill.rto_seconds)} after “go”. No check failed."
    return f"{back} Not looked at: {', '.join(unseen)}." if unseen else back


def _figures(drill: DrillRecord, shown: Sequence[DrillRecord]) -> list[Figure]:
    outcomes = {check.name: check.passed for check in drill.checks}
    rto = history([Measure(each.at, each.rto_seconds, each.rto_objective_seconds) for each in shown])
    rpo = history([Measure(each.at, each.rpo_seconds, each.rpo_objective_seconds) for each in shown])
    return [
        Figure(
            "RTO",
            "Recovery time",
            "From “go” to the first answer.",
            outcomes.get("rto"),
            drill.rto_seconds,
            drill.rto_objective_seconds,
            rto,
        ),
        Figure(
            "RPO",
            "Recovery point",
            "Age at “go” of the newest row that the bucket could give back.",
            outcomes.get("rpo"),
            drill.rpo_seconds,
            drill.rpo_objective_seconds,
            rpo,
        ),
    ]


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"span": span, "size": size, "when": when}
    environment.globals |= {"AXIS": charts.AXIS, "HEIGHT": charts.HEIGHT}
    return environment.from_string(files(__package__).joinpath("report.html.j2").read_text(encoding="utf-8"))
