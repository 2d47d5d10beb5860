"""One embedded stack for the whole session: real servers, in a folder of their own, gone when the tests are."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ops_workflows.local.layout import Layout
from ops_workflows.local.stack import Stack, down, status, up
from ops_workflows.settings import Settings


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    """The tests are about the stack that they start, never about what the environment may point at."""
    kept = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(("OPS_", "PG", "AWS_"))}
    yield
    os.environ.update(kept)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, _no_settings_from_outside: None) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    try:
        yield up(Settings.read(folder), folder)
    finally:
        remove(folder)


@pytest.fixture(scope="session")
def settings(stack: Stack) -> Settings:
    return Settings.read(stack.folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, _no_settings_from_outside: None) -> Iterator[Path]:
    """A folder for a stack that the tests of one module may break; `up` mends it. What runs there is stopped."""
    path = tmp_path_factory.mktemp("breakable")
    yield path
    remove(path)


@pytest.fixture
def empty_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for a stack of a test's own."""
    yield tmp_path
    remove(tmp_path)


def remove(folder: Path) -> None:
    """Stop what runs in the folder, and remove its data, which lie in /var/lib if servers may not enter the folder."""
    down(folder)
    Layout(folder.resolve()).delete()


@pytest.fixture(scope="session")
def superuser() -> Callable[..., psycopg.Connection[Any]]:
    """A connection of the superuser to a server of a stack: `superuser(folder, "standby")`."""

    def connected(folder: Path, name: str = "primary", database: str = "postgres") -> psycopg.Connection[Any]:
        host, _, port = next(service.address for service in status(folder) if service.name == name).rpartition(":")
        passfile = str(folder / ".ops/secrets/pgpass")
        return psycopg.connect(
            host=host, port=port, user="postgres", dbname=database, passfile=passfile, autocommit=True
        )

    return connected
