"""The files of a migrations folder, in golang-migrate's naming: `000001_add_users.up.sql`."""

import re
from dataclasses import dataclass
from pathlib import Path

from ops_workflows.errors import ConfigurationError

_NAME = re.compile(r"^([0-9]+)_(.*)\.(down|up)\.(.*)$")
_LARGEST = 2**63 - 1  # the version is recorded as a bigint


@dataclass(frozen=True)
class Migration:
    """One version of the schema: the way to it from the version before, and the way back if there is one."""

    version: int
    name: str
    up: Path
    down: Path | None


def read_migrations(directory: Path) -> tuple[Migration, ...]:
    """Find the migrations in a folder, in the order of their versions; other files, such as a README, are left alone.

    Raises:
        ConfigurationError: The folder is missing or empty, two files claim one place, a way up is missing, or an SQL
            file is named so that it would silently never be applied.
    """
    if not directory.is_dir():
        raise ConfigurationError(
            f"There is no folder of migrations at {directory}: name the right one in OPS_MIGRATIONS_DIR."
        )
    found: dict[str, dict[int, Path]] = {"up": {}, "down": {}}
    for path in sorted(directory.iterdir()):
        if match := _NAME.match(path.name):
            _add(found[match[3]], int(match[1]), path)
        elif path.suffix == ".sql":
            raise ConfigurationError(
                f"{path} is not named like a migration and would never be applied: "
                "call it NNNNNN_what_it_does.up.sql or .down.sql, or move it elsewhere."
            )
    ups, downs = found["up"], found["down"]
    if orphans := sorted(downs.keys() - ups.keys()):
        raise ConfigurationError(f"{downs[orphans[0]]} has no up file beside it: add it or remove the down file.")
    if not ups:
        raise ConfigurationError(f"{directory} holds no migrations: name the right folder in OPS_MIGRATIONS_DIR.")
    return tuple(Migration(version, _title(ups[version]), ups[version], downs.get(version)) for version in sorted(ups))


def _add(taken: dict[int, Path], version: int, path: Path) -> None:
    if version > _LARGEST:
        raise ConfigurationError(f"{path} has a version larger than {_LARGEST}, which cannot be recorded: rename it.")
    if version in taken:
        raise ConfigurationError(
            f"{taken[version].name} and {path.name} in {path.parent} both claim version {version}: renumber one."
        )
    taken[version] = path


def _title(path: Path) -> str:
    match = _NAME.match(path.name)
    return match[2] if match else path.stem
