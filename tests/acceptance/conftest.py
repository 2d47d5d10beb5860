"""One installation as a person has it: a folder with the project's files, where `ops` and `dagster` are typed."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ops_workflows.local.layout import Layout
from ops_workflows.local.stack import down
from ops_workflows.settings import Settings
from tests.support.command import Ended, run

PROJECT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Installation:
    """A folder, and the commands typed in it."""

    folder: Path

    @property
    def settings(self) -> Settings:
        return Settings.read(self.folder)

    def ops(self, *arguments: str | Path, timeout: float = 180, **env: str) -> Ended:
        return run("ops", *arguments, folder=self.folder, env=env, timeout=timeout)

    def job(self, name: str, **env: str) -> Ended:
        command = ("dagster", "job", "execute", "-m", "ops_workflows.definitions", "-j", name)
        return run(*command, folder=self.folder, env={"DAGSTER_HOME": str(self.folder)} | env, timeout=240)


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    kept = {
        name: os.environ.pop(name) for name in list(os.environ) if name.startswith(("OPS_", "PG", "AWS_", "DAGSTER"))
    }
    yield
    os.environ.update(kept)


def new_installation(folder: Path) -> Installation:
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(PROJECT / name, folder)
    shutil.copytree(PROJECT / "migrations", folder / "migrations")
    return Installation(folder)


def remove(installation: Installation) -> None:
    down(installation.folder)
    Layout(installation.folder.resolve()).delete()


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory, _no_settings_from_outside: None) -> Iterator[Installation]:
    """Nothing has been typed yet."""
    made = new_installation(tmp_path_factory.mktemp("empty"))
    yield made
    remove(made)


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory, _no_settings_from_outside: None) -> Iterator[Installation]:
    """Up, migrated, with data and a heartbeat."""
    made = new_installation(tmp_path_factory.mktemp("installation"))
    try:
        for typed in (
            ("up",), ("migrate", "up"), ("seed", "--rows", "5000"), ("traffic", "--seconds", "2", "--rate", "20"),
        ):  # fmt: skip
            done = made.ops(*typed)
            assert done.code == 0, (typed, done)
        yield made
    finally:
        remove(made)
