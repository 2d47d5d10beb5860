"""Whether the caches are lean: what a person should know of early, each as a finding with its figures."""

from dataclasses import dataclass, field

from ops_workflows.cache.keyspace import ServerFacts, Swept
from ops_workflows.cache.prune import Pruned
from ops_workflows.cache.report import Figures, server_figures, swept_figures
from ops_workflows.cache.table import GRACE_DAYS, Left
from ops_workflows.cache.valkey import sweep
from ops_workflows.errors import OpsError
from ops_workflows.progress import SILENT, Progress
from ops_workflows.settings import Settings

MOST_FULL = 0.9  # of the memory of a server that refuses to write once it is used up


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found.

    Attributes:
        passed: Whether all is well; false if that could not be seen.
        said: In a sentence.
        evidence: Figures, by name.
    """

    passed: bool
    said: str
    evidence: Figures = field(default_factory=dict)


def table_findings(left: Left | None, far_days: float) -> dict[str, Finding]:
    """Of the table, by check.

    Args:
        left: What pruning has left behind; None if the table was locked.
        far_days: After which no row should expire.
    """
    if left is None:
        locked = Finding(False, "Nothing could be seen: somebody has the table to themselves.")
        return {"nothing_long_expired": locked, "nothing_expires_too_late": locked}
    expired = Finding(True, f"No row expired over {GRACE_DAYS} day ago.", {"rows": 0})
    if left.expired:
        said = (
            f"{left.expired:,} rows expired over {GRACE_DAYS} day ago, the first at {left.first} UTC: "
            "see why `prune_cache` ended early."
        )
        expired = Finding(False, said, {"rows": left.expired, "first": left.first})
    far = Finding(True, f"No row expires later than in {far_days:g} days.", {"rows": 0})
    if left.far:
        said = (
            f"{left.far:,} rows expire later than in {far_days:g} days (OPS_PRUNE_FAR_DAYS), the last at "
            f"{left.last} UTC, and stay until then: correct their expires_at, and whoever writes it."
        )
        far = Finding(False, said, {"rows": left.far, "last": left.last})
    return {"nothing_long_expired": expired, "nothing_expires_too_late": far}


def pruning_finding(done: Pruned) -> Finding:
    """Whether a run could do anything where there was something to do."""
    evidence: Figures = {"rows": done.total, "paused_seconds": round(sum(done.pauses.values()), 2)}
    return Finding(not done.in_vain, f"{done.ended[:1].upper()}{done.ended[1:]}.", evidence)


def sweep_and_find(
    settings: Settings, progress: Progress = SILENT, *, dry_run: bool = False
) -> tuple[Figures, dict[str, Finding]]:
    """Sweep the server's keys, which fails without an error: what came of it, as figures, and of the keys, by check.

    Args:
        settings: Which server, which keys.
        progress: Hears how it is getting on.
        dry_run: Only look.
    """
    try:
        swept = sweep(settings, progress, dry_run=dry_run)
    except OpsError as error:
        failed = Finding(False, str(error))
        return {"keys_complete": False, "keys_notes": str(error)}, {"keys_expire": failed, "memory_is_left": failed}
    found = {"keys_expire": keys_finding(swept, dry_run=dry_run), "memory_is_left": memory_finding(swept.after)}
    return swept_figures(swept), found


def keys_finding(swept: Swept, *, dry_run: bool) -> Finding:
    """Whether the keys that have to expire do.

    Args:
        swept: What a sweep did, or would have done.
        dry_run: Whether it would have.
    """
    evidence: Figures = {"keys_scanned": swept.scanned, "keys_given_expiry": swept.given_expiry}
    if not swept.complete:
        return Finding(False, f"Not all keys were looked at. {' '.join(swept.notes)}", evidence)
    if dry_run and swept.given_expiry:
        said = f"{swept.given_expiry:,} keys would stay for ever: run `prune_cache`, or `ops cache prune --yes`."
        return Finding(False, said, evidence)
    return Finding(True, "All keys that have to expire do.", evidence)


def memory_finding(facts: ServerFacts) -> Finding:
    """Whether the server has memory left where it would refuse to write without."""
    figures = server_figures(facts)
    if facts.loading:
        return Finding(False, "Nothing can be said while it loads its dataset.", figures)
    if facts.fullness is None:
        return Finding(True, "Its memory has no bound.", figures)
    if not facts.refuses_when_full:
        return Finding(True, f"{facts.fullness:.0%} used; when full, it evicts ({facts.policy}).", figures)
    if facts.fullness < MOST_FULL:
        return Finding(True, f"{facts.fullness:.0%} used.", figures)
    said = (
        f"{facts.fullness:.0%} of its memory is used, and it refuses to write once all is: raise maxmemory, let keys "
        "expire sooner (OPS_REDIS_EXPIRY_SECONDS), or set a maxmemory-policy that evicts."
    )
    return Finding(False, said, figures)
