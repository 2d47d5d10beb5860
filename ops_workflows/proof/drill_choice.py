"""From which backup, and to which moment, a drill recovers: a pure function of what the bucket holds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from ops_workflows.errors import RefusedError
from ops_workflows.proof.witness import random_moment
from ops_workflows.repository.backup import Backup
from ops_workflows.repository.canaries import Canary, Interval, along, intervals
from ops_workflows.repository.reach import Histories, Reach, furthest, newest, reaches
from ops_workflows.repository.wal import WalListing
from ops_workflows.restore.choose import Route, choose
from ops_workflows.restore.moment import AtTime, Latest, parse_moment

RANDOM = "random"
NEWEST, OLDEST, ROTATE = "newest", "oldest", "rotate"
_TURNS = (NEWEST, OLDEST, RANDOM)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person or a schedule asks of a drill.

    Attributes:
        to: `random`, `latest`, a time with its zone, an LSN, or name:RESTORE_POINT.
        backup: An id; `newest` or `latest`, `oldest`, `random`, or `rotate`, which takes these three in turn.
    """

    to: str = RANDOM
    backup: str = ROTATE


@dataclass(frozen=True, slots=True)
class Choice:
    """What a drill is going to do.

    Attributes:
        route: Which backup, along which log, to which moment.
        why: In words.
        furthest: How far the log in the bucket leads from any backup.
        lacking: Why it is no random moment although that was asked for, so that nobody can say whether it is exact;
            None where it is what was asked for.
    """

    route: Route
    why: str
    furthest: Reach
    lacking: str | None = None


@dataclass(frozen=True, slots=True)
class Holding:
    """What a repository has to choose from.

    Attributes:
        backups: Oldest first.
        listing: The log.
        histories: Of its timelines.
        canaries: Oldest first.
        drills: How many drills there have been.
    """

    backups: Sequence[Backup]
    listing: WalListing
    histories: Histories
    canaries: Sequence[Canary]
    drills: int

    def furthest(self, backup: Backup) -> Reach:
        """The way of a backup to the newest moment it can reach."""
        return furthest(backup, self.listing, self.histories)

    def choice(self, route: Route, why: str) -> Choice:
        """A decision."""
        ways = sorted(map(self.furthest, self.backups), key=lambda way: way.backup.finished_at, reverse=True)
        return Choice(route, why, newest(ways, self.listing))


def choose_drill(wanted: Wanted, held: Holding, chance: Random) -> Choice | None:
    """Decide what to recover.

    A random moment lies between two canaries, and before the next backup: there a recovery would begin with this one.

    Returns:
        None where a random moment was asked for and no canaries surround any.

    Raises:
        RefusedError: There is no such backup, or the moment cannot be reached; the text says what can.
    """
    turn = _TURNS[held.drills % len(_TURNS)] if wanted.backup == ROTATE else wanted.backup
    if not held.backups:
        raise RefusedError("There is no backup to recover from: take one, `ops backup`.")
    if wanted.to == RANDOM:
        return _random_moment(turn, wanted.backup == ROTATE, held, chance)
    moment = parse_moment(wanted.to)
    free = wanted.backup == ROTATE or (isinstance(moment, Latest) and turn == NEWEST)
    backups = held.backups if free else [_backup(turn, held, chance)]
    route = choose(moment, reaches(backups, held.listing, held.histories), held.listing)
    return held.choice(route, f"{wanted.to} was asked for; {'the best backup for it' if free else f'from {turn}'}")


def _random_moment(turn: str, may_be_another: bool, held: Holding, chance: Random) -> Choice | None:
    first = _backup(turn, held, chance)
    others = reversed(held.backups) if may_be_another else ()
    for backup in (first, *(each for each in others if each is not first)):
        reach = held.furthest(backup)
        if between := _between(backup, reach, held):
            moment = random_moment(between, chance)
            which = f"the {turn} backup" if backup is first else f"backup {backup.id}, the {turn} having no canaries"
            return held.choice(Route(AtTime(moment), reach), f"a random moment from {which}")
    return None


def _between(backup: Backup, reach: Reach, held: Holding) -> list[Interval]:
    later = [each.finished_at for each in held.backups if each.finished_at > backup.finished_at]
    passed = along(held.canaries, reach)
    return intervals(passed, backup.finished_at, min(later, default=None)) or intervals(passed, backup.finished_at)


def _backup(turn: str, held: Holding, chance: Random) -> Backup:
    match turn:
        case "newest" | "latest":
            return held.backups[-1]
        case "oldest":
            return held.backups[0]
        case "random":
            return chance.choice(held.backups)
    for backup in held.backups:
        if backup.id == turn:
            return backup
    raise RefusedError(f"There is no backup {turn}: write newest, oldest, random, rotate, or an id from `ops backups`.")


def instead_of_random(held: Holding) -> Choice:
    """The newest moment there is, where no canaries surround any that could be chosen."""
    route = choose(Latest(), reaches(held.backups, held.listing, held.histories), held.listing)
    choice = held.choice(route, "the newest moment, for want of canaries")
    return replace(choice, lacking="no canaries surround any moment of the window")
