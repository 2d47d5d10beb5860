"""Where a backup stands on the ladder, from its last proofs: a pure function, and the words for a person."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from ops_workflows.repository.proofs import Proof, State, state
from ops_workflows.repository.rungs import Rung

_DAY = timedelta(days=1)
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Standing:
    """One backup and the ladder.

    Attributes:
        states: Of every rung.
        highest: The highest rung that was passed, with none failed below it; None without one.
        at: When that was shown.
        failed: The lowest rung that failed; None if none did.
        said: In words.
        age: How long ago the highest was shown, in words.
    """

    states: Mapping[Rung, State]
    highest: Rung | None
    at: datetime | None
    failed: Rung | None
    said: str
    age: str


def standing(shown: Mapping[str, Proof], now: datetime, most_days: float) -> Standing:
    """Understand the last attempts at each rung.

    Args:
        shown: By what was tried, from `proofs.newest`.
        now: The present moment.
        most_days: How long a pass counts; an older one is stale.
    """
    states = {rung: state(shown.get(rung), now, timedelta(days=most_days)) for rung in Rung}
    failed = next((rung for rung in Rung if states[rung] is State.FAILED), None)
    below = [rung for rung in (failed.below() if failed else tuple(Rung)) if rung in shown]
    highest = below[-1] if below else None
    at = shown[highest].at if highest else None
    said = highest.value if highest else State.NOT_RUN.value
    if highest and states[highest] is State.STALE:
        said += f" ({State.STALE})"
    if failed:
        said = f"✗ {failed} failed" if highest is None else f"✗ {failed} failed; {said}"
    return Standing(states, highest, at, failed, said, _ago(now - at) if at else "")


def _ago(age: timedelta) -> str:
    if age < _HOUR:
        return f"{age // timedelta(minutes=1)} min"
    return f"{age // _HOUR} h" if age < 2 * _DAY else f"{age // _DAY} days"
