"""A folder as the repository: everything that a bucket can do, and restores from it while the bucket is away."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ops_workflows.backup.take import take_backup
from ops_workflows.backup.wal_receiver import catch_up
from ops_workflows.repository.catalogue import open_repository
from ops_workflows.repository.rungs import Rung
from ops_workflows.settings import Settings
from tests.support.command import ops_here
from tests.support.ladder import climb
from tests.support.servers import ScratchServer, reachable_folder, scratch_server


@pytest.fixture(scope="module")
def server() -> Iterator[ScratchServer]:
    with scratch_server(max_slot_wal_keep_size="1GB") as made:
        with made.connect() as connection:
            connection.execute("CREATE TABLE t AS SELECT n FROM generate_series(1, 1000) n")
        yield made


@pytest.fixture(scope="module")
def primary(server: ScratchServer, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings whose repository is a folder, with a backup and later WAL in it."""
    folder = tmp_path_factory.mktemp("repository")
    own = server.settings(settings).at(folder.as_uri())
    take_backup(own)
    with server.connect() as connection:
        connection.execute("INSERT INTO t SELECT n FROM generate_series(1, 500) n")
    catch_up(own, 30)
    return own


def rows(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT count(*) FROM t").fetchone()
    return int(row and row[0])


def test_a_backup_in_a_folder_climbs_every_rung(server: ScratchServer, primary: Settings) -> None:
    repository = open_repository(primary)
    backup = repository.find("latest")
    for rung in Rung.EXACT.below():
        climbed = climb(rung, primary, repository, backup)
        assert climbed.passed, climbed.finding
    assert not list(repository.store.pending_uploads(""))
    assert primary.repository_folder is not None
    assert [found.name for found in primary.repository_folder.iterdir()] == [server.system]


def test_it_is_restored_from_with_the_bucket_gone(server: ScratchServer, settings: Settings, primary: Settings) -> None:
    gone = server.settings(settings, s3_endpoint_url="http://127.0.0.1:9", s3_attempts=1)
    with reachable_folder() as folder:
        # A copy elsewhere, as somebody would bring it on a disk: nothing in it depends on where it lies.
        copied = folder / "brought"
        assert primary.repository_folder is not None
        shutil.copytree(primary.repository_folder, copied)
        listed = ops_here(gone, folder, "backups", "--json", "--from", copied.as_uri())
        assert listed.code == 0, listed.err
        assert len(json.loads(listed.out)) == 1
        done = ops_here(
            gone,
            folder,
            "restore",
            "--from",
            copied.as_uri(),
            "--target-dir",
            folder / "data",
            "--keep-running",
            "--json",
        )
        assert done.code == 0, done.err
        found = json.loads(done.out)
        try:
            assert rows(found["dsn"]) == 1500
        finally:
            stop(folder / "data")


def stop(data: Path) -> None:
    from ops_workflows.postgres.server import DataDirectory  # noqa: PLC0415

    DataDirectory(data).stop("immediate")


def test_what_names_no_repository_is_refused(settings: Settings, tmp_path: Path) -> None:
    for url, said in (
        ("/srv/backups", "write file:///FOLDER or s3://BUCKET/PREFIX"),
        ((tmp_path / "not-there").as_uri(), "is not there: make the folder, or mount what it lies on"),
        (tmp_path.as_uri(), "holds no backups"),
    ):
        for command in (("backups",), ("drill",), ("restore", "--target-dir", tmp_path / "data")):
            done = ops_here(settings, tmp_path, *command, "--from", url)
            assert done.code == 1
            assert said in done.sentence
    assert not (tmp_path / "data").exists()
