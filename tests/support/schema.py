"""Databases to migrate, each a test's own, and folders of migrations."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql
from psycopg.conninfo import make_conninfo

from ops_workflows.postgres.connection import connect
from ops_workflows.settings import Settings

ROOT = Path(__file__).parents[2]
MIGRATIONS = ROOT / "migrations"
ROLES = ROOT / "deploy/postgres/roles.sql"
_PROGRAM = (
    "import sys; from pathlib import Path; from ops_workflows.schema.apply import migrate_up; "
    "migrate_up(sys.stdin.read(), Path(sys.argv[1]))"
)


@dataclass(frozen=True)
class Database:
    """A database of a test's own, with the roles of every other."""

    owner: str
    upkeep: str
    superuser: str


@contextmanager
def own_database(settings: Settings) -> Iterator[Database]:
    owner, upkeep, name = settings.require("owner_dsn"), settings.require("upkeep_dsn"), f"t_{secrets.token_hex(4)}"
    superuser = make_conninfo(owner, user="postgres", dbname=name)
    with connect(superuser, dbname="postgres") as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        try:
            with connect(superuser) as inside:
                inside.execute(ROLES.read_bytes())
            yield Database(make_conninfo(owner, dbname=name), make_conninfo(upkeep, dbname=name), superuser)
        finally:
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def rows(dsn: str, query: str) -> list[tuple[object, ...]]:
    with connect(dsn) as connection:
        return connection.execute(query.encode()).fetchall()


def wait_for(condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.05)


def write(folder: Path, **files: str) -> Path:
    """Migration files by keyword: `up1="…"`, `down1="…"`."""
    for key, text in files.items():
        direction, version = key.rstrip("0123456789"), key.lstrip("updown")
        (folder / f"{int(version):06d}_step.{direction}.sql").write_text(text)
    return folder


@contextmanager
def killed_while(database: Database, folder: Path, asleep: str) -> Iterator[None]:
    """A run of its own, killed while the server sleeps in one of its statements; the server has noticed by the end."""
    sleeping = (
        f"select from pg_stat_activity where state = 'active' and query like '%{asleep}%' and pid <> pg_backend_pid()"
    )
    with subprocess.Popen([sys.executable, "-c", _PROGRAM, str(folder)], stdin=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdin is not None
            child.stdin.write(database.owner)
            child.stdin.close()
            wait_for(lambda: bool(rows(database.superuser, sleeping)))
            yield
        finally:
            os.kill(child.pid, signal.SIGKILL)
        child.wait(10)
    wait_for(lambda: not rows(database.superuser, sleeping))
