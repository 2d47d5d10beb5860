"""From where a schema stands and the files there are, to the steps to take. Nothing here touches a database."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ops_workflows.errors import RefusedError
from ops_workflows.schema.files import Migration

NOTHING = -1
"""The version of a schema to which nothing has been applied, in golang-migrate's table as well."""


class Direction(StrEnum):
    """Which way a step goes."""

    UP = "up"
    DOWN = "down"


@dataclass(frozen=True)
class Position:
    """Where a schema stands: the version recorded, and whether a step to it began and never ended well."""

    version: int = NOTHING
    dirty: bool = False


@dataclass(frozen=True)
class Step:
    """One file to run, and the version that is recorded around it."""

    direction: Direction
    migration: Migration
    script: Path
    target: int


type Aim = Callable[[Position, Sequence[Migration]], list[Step]]
"""Where a run is to lead: the steps to take from a position, given the files."""


def upward(limit: int | None = None) -> Aim:
    """To the newest version, or by so many steps at most."""
    return lambda position, migrations: plan_up(position, migrations, limit)


def back(steps: int) -> Aim:
    """Exactly so many steps back."""
    return lambda position, migrations: plan_down(position, migrations, steps)


def toward(version: int) -> Aim:
    """To a version, up or down."""
    return lambda position, migrations: plan_goto(position, migrations, version)


def plan_up(position: Position, migrations: Sequence[Migration], limit: int | None = None) -> list[Step]:
    """The steps from `position` to the newest version, or the first `limit` of them.

    Raises:
        RefusedError: The schema is dirty, stands at a version that has no file, or `limit` is not positive.
    """
    if limit is not None and limit < 1:
        raise RefusedError(f"Cannot apply {limit} migrations: ask for at least one.")
    return [_up(migration) for migration in migrations[_applied(position, migrations) :][:limit]]


def plan_down(position: Position, migrations: Sequence[Migration], steps: int) -> list[Step]:
    """Exactly `steps` steps back from `position`.

    Raises:
        RefusedError: The schema is dirty, stands at a version that has no file, fewer steps have been applied, or one
            of them has no way back; decided before the first is taken.
    """
    applied = _applied(position, migrations)
    if steps < 1:
        raise RefusedError(f"Cannot go back {steps} migrations: say how many, at least one.")
    if steps > applied:
        raise RefusedError(f"Cannot go back {steps} migrations: only {applied} have been applied.")
    return _down(migrations, applied, applied - steps)


def plan_goto(position: Position, migrations: Sequence[Migration], version: int) -> list[Step]:
    """The steps from `position` to a version, up or down; none if it is there.

    Raises:
        RefusedError: The schema is dirty, stands at a version that has no file, the wanted one has none, or a step back
            has no way; decided before the first is taken.
    """
    applied, wanted = _applied(position, migrations), _number(version, migrations)
    if wanted < applied:
        return _down(migrations, applied, wanted)
    return [_up(migration) for migration in migrations[applied:wanted]]


def require_version(version: int, migrations: Sequence[Migration]) -> None:
    """See to it that a version can be recorded by hand: it has a file, or is none at all.

    Raises:
        RefusedError: It has no file.
    """
    _number(version, migrations)


def _number(version: int, migrations: Sequence[Migration]) -> int:
    """How many of `migrations` lie behind a version."""
    if version == NOTHING:
        return 0
    versions = [migration.version for migration in migrations]
    if version not in versions:
        raise RefusedError(
            f"There is no migration {version}: the folder has {versions[0]} to {versions[-1]}; {NOTHING} means none."
        )
    return versions.index(version) + 1


def _up(migration: Migration) -> Step:
    return Step(Direction.UP, migration, migration.up, migration.version)


def _down(migrations: Sequence[Migration], applied: int, wanted: int) -> list[Step]:
    plan = []
    for index in range(applied - 1, wanted - 1, -1):
        migration = migrations[index]
        if migration.down is None:
            raise RefusedError(f"Cannot go back past {migration.up.name}: it has no down file.")
        target = migrations[index - 1].version if index else NOTHING
        plan.append(Step(Direction.DOWN, migration, migration.down, target))
    return plan


def _applied(position: Position, migrations: Sequence[Migration]) -> int:
    """How many of `migrations` lie behind `position`."""
    if position.dirty:
        raise RefusedError(
            f"The schema is dirty at version {position.version}: a step to it began and did not end well. See what it "
            "left, complete or undo that by hand, and say what is true then: `ops migrate force` with the version."
        )
    if position.version == NOTHING:
        return 0
    versions = [migration.version for migration in migrations]
    if position.version not in versions:
        raise RefusedError(
            f"The schema is at version {position.version}, which has no file among the migrations up to "
            f"{versions[-1]}: use the folder that it was migrated with, or a newer one."
        )
    return versions.index(position.version) + 1
