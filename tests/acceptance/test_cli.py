"""The `ops` command, typed in a folder: from nothing to a restored database and back to nothing."""

import json
import re
from pathlib import Path

import psutil
import psycopg
import pytest
import typer

from ops_workflows.cli.app import app
from ops_workflows.local.stack import status
from ops_workflows.postgres.server import DataDirectory
from tests.acceptance.conftest import Installation
from tests.support.command import ops_here
from tests.support.servers import reachable_folder

COMMANDS = typer.main.get_command(app)


def every_command() -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = [()]

    def walk(command: object, path: tuple[str, ...]) -> None:
        for name, child in getattr(command, "commands", {}).items():
            found.append((*path, name))
            walk(child, (*path, name))

    walk(COMMANDS, ())
    return found


@pytest.mark.parametrize("command", every_command(), ids=" ".join)
def test_every_command_explains_itself(command: tuple[str, ...], tmp_path: Path) -> None:
    from ops_workflows.settings import Settings  # noqa: PLC0415

    done = ops_here(Settings(), tmp_path, *command, "--help")
    assert done.code == 0
    usage, _, rest = done.out.strip().partition("\n")
    assert usage.startswith("Usage: ")
    described = re.sub(r"(?s)\n(Arguments|Options|Commands):.*", "", rest).strip()
    assert len(described) > 20, done.out
    for line in re.findall(r"(?m)^  (-[^\n]*)$", done.out):
        assert len(line.split(None, 1)) == 2, line


def test_wrong_usage(installation: Installation) -> None:
    for typed in (("restore", "--nothing"), ("migrate", "down"), ("nothing",)):
        done = installation.ops(*typed)
        assert done.code == 2
        assert done.out == ""


def test_before_anything_was_started(empty: Installation) -> None:
    backup = empty.ops("backup")
    assert backup.code == 1
    assert "OPS_BACKUP_DSN is not set" in backup.sentence
    backups = empty.ops("backups", "--json")
    assert (backups.code, backups.out) == (1, "")
    assert "OPS_S3_BUCKET is not set" in backups.sentence
    down = empty.ops("down")
    assert down.code == 0


def test_from_backup_to_a_restored_database(installation: Installation) -> None:
    taken = installation.ops("backup", "--json")
    assert taken.code == 0, taken
    backup = json.loads(taken.out)
    assert taken.err == "This backup is full: a full backup was asked for.\n"  # a sentence, and no bars

    listed = installation.ops("backups", "--json")
    assert listed.code == 0
    assert listed.err == ""
    assert backup["id"] in [each["id"] for each in json.loads(listed.out)]
    table = installation.ops("backups")
    assert table.code == 0
    assert backup["id"] in table.out

    with reachable_folder() as folder:
        target = folder / "data"
        done = installation.ops("restore", "--backup", backup["id"], "--target-dir", target, "--keep-running", "--json")
        try:
            assert done.code == 0, done
            restored = json.loads(done.out)
            assert restored["backup_id"] == backup["id"]
            dsn = restored["dsn"].replace("dbname=postgres", "dbname=panchangam")
            owner = installation.settings.require("owner_dsn")
            with psycopg.connect(dsn) as there, psycopg.connect(owner) as here:
                for query in ("SELECT count(*) FROM query_log", "SELECT count(*) FROM users"):
                    assert there.execute(query.encode()).fetchone() == here.execute(query.encode()).fetchone()
        finally:
            DataDirectory(target).stop("immediate")


def test_a_drill(installation: Installation) -> None:
    assert installation.ops("backup").code == 0
    done = installation.ops("drill", "--json")
    assert done.code == 0, done
    assert "…" not in done.err
    assert json.loads(done.out)["passed"] is True


@pytest.mark.parametrize("reader", ["head -c 1", "true"])
def test_a_reader_that_leaves_is_no_fault_to_complain_of(installation: Installation, reader: str) -> None:
    from tests.support.command import BIN, run  # noqa: PLC0415

    command = f"{BIN}/ops backups --json | {reader}"
    done = run("/bin/sh", "-c", command, folder=installation.folder)
    assert done.err == ""


def test_down_and_up_again_keep_the_data(empty: Installation) -> None:
    up = empty.ops("up")
    assert up.code == 0, up
    running = [psutil.Process(pid) for service in status(empty.folder) for pid in service.pids]
    assert running
    with psycopg.connect(empty.settings.require("owner_dsn"), autocommit=True) as owner:
        owner.execute("CREATE TABLE kept ()")
    down = empty.ops("down")
    assert down.code == 0, down
    # What has ended and was not yet taken note of by whoever inherited it is no process any more.
    assert not [each for each in running if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
    again = empty.ops("up")
    assert again.code == 0, again
    with psycopg.connect(empty.settings.require("owner_dsn")) as owner:
        owner.execute("SELECT FROM kept")
    assert empty.ops("down").code == 0
    assert [service.pids for service in status(empty.folder) if service.pids] == []
