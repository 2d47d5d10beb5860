"""What was seen of the cluster on several ways, and what that comes to: pure functions of it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files

from psycopg.rows import args_row

from ops_workflows.errors import DatabaseError
from ops_workflows.health.reading import Check, Reading, critical, ok, unknown, warning
from ops_workflows.postgres.connection import Connection

_SIGHTING = files(__package__).joinpath("sighting.sql").read_text().encode()


@dataclass(frozen=True, slots=True)
class Sighting:
    """A server as it showed itself on one way.

    Attributes:
        way: The setting that led there.
        is_standby: Whether it is in recovery.
        system: PostgreSQL's system identifier.
        timeline: On which it writes, or which it receives.
        started: When it was started, to the microsecond: by that two ways are known to lead to the same server.
    """

    way: str
    is_standby: bool
    system: str
    timeline: int
    started: datetime


@dataclass(frozen=True, slots=True)
class Held:
    """What the repository knows of clusters.

    Attributes:
        systems: Of which it holds anything.
        timelines: The highest timeline of each.
    """

    systems: tuple[str, ...]
    timelines: dict[str, int]


def sight(connection: Connection, way: str) -> Sighting:
    """Look at the server of a connection.

    Raises:
        DatabaseError: It does not say.
    """
    with connection.cursor(row_factory=args_row(lambda *row: Sighting(way, *row))) as cursor:
        found = cursor.execute(_SIGHTING).fetchone()
    if found is None:
        raise DatabaseError("PostgreSQL does not say which cluster it is.")
    return found


def conclude(
    seen: Sequence[Sighting], ways: Collection[str], held: Held | None, system: str | None = None
) -> tuple[Reading, Reading, Reading]:
    """What all ways together say: whether there is exactly one primary, its timeline, and which cluster it is.

    Args:
        seen: One for each way on which a server answered.
        ways: All on which one should have.
        held: What the repository knows; None where it did not answer.
        system: The cluster that OPS_SYSTEM names.
    """
    unseen = sorted(set(ways) - {each.way for each in seen})
    return _one_primary(seen, unseen), _timeline(seen, held), _system(seen, held, system)


def _one_primary(seen: Sequence[Sighting], unseen: Sequence[str]) -> Reading:
    check = Check.ONE_PRIMARY
    primaries = {each.started: each.way for each in seen if not each.is_standby}
    ways = ", ".join(each.way for each in seen)
    if len(primaries) > 1:
        said = f"{len(primaries)} servers accept writes, on the ways {' and '.join(sorted(primaries.values()))}."
        return critical(check, said, "fence all but one at once, before they drift apart further", len(primaries))
    if unseen:
        return unknown(check, f"{len(primaries)} seen; nobody answered on the way {' and '.join(unseen)}.")
    if not primaries:
        return critical(check, f"No server accepts writes: seen were {ways}.", "promote a standby, or start it", 0)
    return ok(check, f"One server accepts writes; looked at on the ways {ways}.", 1)


def _timeline(seen: Sequence[Sighting], held: Held | None) -> Reading:
    check = Check.TIMELINE
    if not seen:
        return unknown(check, "No server answered.")
    primary = next((each for each in seen if not each.is_standby), seen[0])
    on = f"The {'standby' if primary.is_standby else 'primary'} is on timeline {primary.timeline}"
    apart = [each for each in seen if each.timeline != primary.timeline]
    if any(not each.is_standby for each in apart):
        return critical(check, f"{on}, and another one on {apart[0].timeline}.", "fence the older of the two")
    if apart:
        said = f"{on}, and what answers on the way {apart[0].way} follows {apart[0].timeline}."
        return warning(check, said, "see whether it can follow; else clone it anew", primary.timeline)
    known = held.timelines.get(primary.system) if held else None
    if known is None:
        return unknown(check, f"{on}; the repository does not say which one it has last.")
    return _beside_repository(check, primary.timeline, known, on)


def _beside_repository(check: Check, timeline: int, known: int, on: str) -> Reading:
    if timeline < known:
        said = f"{on}, and the repository has the log of timeline {known}: another server was promoted."
        return critical(check, said, "fence this one, and let the settings lead to the other", timeline)
    if timeline > known:
        said = f"{on}, and the repository has nothing beyond {known}: a server was promoted."
        return warning(check, said, "see that `ops wal stream` follows, and take a base backup", timeline)
    return ok(check, f"{on}, as is the repository.", timeline)


def _system(seen: Sequence[Sighting], held: Held | None, chosen: str | None) -> Reading:
    check = Check.SYSTEM_IDENTIFIER
    systems = {each.system: each.way for each in seen}
    if not systems:
        return unknown(check, "No server answered.")
    if len(systems) > 1:
        said = " and ".join(f"{way} to cluster {system}" for system, way in sorted(systems.items()))
        return critical(check, f"The ways lead to different clusters: {said}.", "correct the URLs")
    system = next(iter(systems))
    if chosen not in {None, system}:
        return critical(check, f"It is cluster {system}, and OPS_SYSTEM names {chosen}.", "correct one of the two")
    if held is None or not held.systems:
        why = "is empty" if held else "did not say which it knows"
        return unknown(check, f"It is cluster {system}; the repository {why}, so there is nothing to compare with.")
    if system not in held.systems:
        said = f"It is cluster {system}, and the repository knows {' and '.join(held.systems)} only."
        return critical(check, said, "find out who replaced the database; if that was meant, take a base backup")
    return ok(check, f"It is cluster {system}, which the repository knows.")
