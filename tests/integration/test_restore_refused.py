"""Restores that cannot be begun or carried out: a sentence that names what is wrong, and no folder that could start."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ops_workflows.backup.take import take_backup
from ops_workflows.repository.backup import Backup
from ops_workflows.repository.catalogue import Repository, open_repository
from ops_workflows.repository.records import seal
from ops_workflows.restore.target import Folder
from ops_workflows.settings import Settings
from tests.support.bucket import change, flipped, named
from tests.support.command import Ended, ops_here
from tests.support.killing import ended_at
from tests.support.nobody import as_nobody
from tests.support.proxy import nth, proxy_to
from tests.support.servers import fill_with_noise, reachable_folder, scratch_server

DEBIAN = Path("/usr/lib/postgresql/15/bin")
UNKNOWN = "20200131T020000Z-7c1e"


@dataclass(frozen=True)
class Taken:
    """A backup of a small server."""

    settings: Settings
    repository: Repository
    backup: Backup

    def key(self, name: str) -> str:
        return self.repository.layout.backup(self.backup.id, named(self.backup, name))


@pytest.fixture(scope="module")
def taken(settings: Settings) -> Iterator[Taken]:
    with scratch_server() as server:
        fill_with_noise(server, 30)
        own = server.settings(settings, s3_attempts=2, s3_timeout_seconds=3, connect_timeout_seconds=3)
        backup = take_backup(own)
        yield Taken(own, open_repository(own, server.system), backup)


@pytest.fixture
def folder() -> Iterator[Path]:
    with reachable_folder() as made:
        yield made


def restore(taken: Taken, folder: Path, *more: str | Path) -> Ended:
    return ops_here(taken.settings, folder, "restore", "--target-dir", folder / "data", *more)


def refused(taken: Taken, folder: Path, *more: str | Path) -> str:
    done = restore(taken, folder, *more)
    assert done.code == 1, done
    assert done.out == ""
    assert "Traceback" not in done.err
    assert not (folder / "data/global/pg_control").exists()
    return done.sentence


def test_an_unknown_backup(taken: Taken, folder: Path) -> None:
    said = refused(taken, folder, "--backup", UNKNOWN)
    assert f"There is no backup {UNKNOWN}" in said
    assert "see `ops backups`" in said
    assert not (folder / "data").exists()


@pytest.mark.parametrize("name", ["newest", "../../etc", "20200131T020000Z-7c1e/../x"])
def test_what_is_no_id(taken: Taken, folder: Path, name: str) -> None:
    assert "is no backup id: they look like" in refused(taken, folder, "--backup", name)


def test_a_bucket_without_backups(taken: Taken, folder: Path) -> None:
    empty = taken.settings.model_copy(update={"s3_prefix": "nothing-here"})
    done = ops_here(empty, folder, "restore", "--target-dir", folder / "data")
    assert done.code == 1
    assert "holds no backups under 'nothing-here'" in done.sentence


def test_a_target_that_holds_something(taken: Taken, folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data/precious").write_text("mine")
    said = refused(taken, folder)
    assert f"{folder}/data is not empty" in said
    assert "nothing is ever overwritten" in said
    assert (folder / "data/precious").read_text() == "mine"


def test_a_target_that_is_a_file(taken: Taken, folder: Path) -> None:
    (folder / "data").write_text("mine")
    assert f"{folder}/data is a file" in refused(taken, folder)
    assert (folder / "data").read_text() == "mine"


def test_a_target_below_a_file(taken: Taken, folder: Path) -> None:
    (folder / "file").write_text("mine")
    done = ops_here(taken.settings, folder, "restore", "--target-dir", folder / "file/data")
    assert done.code == 1
    assert "is a file" in done.sentence


def test_a_target_that_may_not_be_written(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o755)
    if os.geteuid() != 0:
        closed.chmod(0o500)
    assert as_nobody(lambda: Folder.look(closed / "data").writable) == "False"


def test_a_target_below_a_folder_that_may_not_be_entered(folder: Path) -> None:
    closed = folder / "closed"
    (closed / "data").mkdir(parents=True)
    closed.chmod(0o700 if os.geteuid() == 0 else 0o000)
    try:
        said = as_nobody(lambda: Folder.look(closed / "data"))
    finally:
        closed.chmod(0o700)
    assert f"{closed}/data cannot be used (Permission denied): choose another folder" in said


def test_a_target_that_is_too_long_for_a_socket_is_refused_before_anything_is_fetched(
    taken: Taken, folder: Path
) -> None:
    deep = folder / ("x" * 120)
    deep.mkdir()
    deep.chmod(0o711)
    said = refused(taken, deep)
    assert f"would lie in {deep}/data.run, whose path is" in said
    assert "OPS_SCRATCH_DIR" in said
    assert list(deep.iterdir()) == []
    assert restore(taken, deep, "--backup", "latest", "--no-start").code == 0  # which needs no socket


def test_a_target_beside_which_the_server_can_have_no_folder(taken: Taken, folder: Path) -> None:
    (folder / "data.run").write_text("mine")
    assert f"{folder}/data.run cannot be made or written" in refused(taken, folder)
    assert not (folder / "data").exists()


def test_what_lies_beside_a_restored_target_is_said(taken: Taken, folder: Path) -> None:
    done = restore(taken, folder)
    assert done.code == 0, done
    assert (folder / "data.run/server.log").exists()
    assert f"{folder}/data.run, with the log" in done.out


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of its own with 20 MB."""
    place = folder / "data"
    place.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=20m,mode=0711", "tmpfs", place],
        capture_output=True,
        timeout=10,
        check=False,
    )
    if mount.returncode:
        pytest.skip("only root can mount a small file system")
    yield place
    subprocess.run(["umount", place], timeout=10, check=True)


def test_a_target_with_too_little_room(taken: Taken, folder: Path, small_disk: Path) -> None:
    said = refused(taken, folder)
    assert f"{small_disk} has too little room" in said
    assert list(small_disk.iterdir()) == []


def test_a_disk_that_fills_up_on_the_way(
    taken: Taken, folder: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops_workflows.restore.plan._MARGIN", 0)  # as if there had been room when it was planned
    said = refused(taken, folder)
    assert "No space left on device" in said
    assert "Make room or choose another folder" in said


def test_programs_of_another_major_version(taken: Taken, folder: Path) -> None:
    if not DEBIAN.is_dir():
        pytest.skip("PostgreSQL 15 of Debian is not installed")
    other = taken.settings.model_copy(update={"pg_bin_dir": DEBIAN})
    done = ops_here(other, folder, "restore", "--target-dir", folder / "data")
    assert done.code == 1
    assert "The database is PostgreSQL 18, but the programs in /usr/lib/postgresql/15/bin are PostgreSQL 15" in done.err
    assert not (folder / "data").exists()


def test_a_tablespace_that_cannot_be_read(taken: Taken, folder: Path) -> None:
    assert "write OID=DIR" in refused(taken, folder, "--tablespace", "fast")


@contextmanager
def changed(taken: Taken, name: str, how: object) -> Iterator[str]:
    key = taken.key(name)
    before = taken.repository.store.get(key)
    change(taken.repository, key, how)  # type: ignore[arg-type]
    try:
        yield key
    finally:
        taken.repository.store.put(key, before)


@pytest.mark.parametrize("name", ["base.tar", "backup_manifest"])
@pytest.mark.parametrize(
    ("how", "says"),
    [
        (flipped, "altered"),
        (lambda content: content[:-1], "bytes and not the"),
        (lambda content: content[: len(content) // 2] + bytes(len(content) - len(content) // 2), ""),
        (lambda _: b"", "0 bytes and not the"),
    ],
    ids=["one-bit", "truncated", "zeros", "empty"],
)
def test_an_object_that_is_damaged(taken: Taken, folder: Path, name: str, how: object, says: str) -> None:
    with changed(taken, name, how) as key:
        said = refused(taken, folder)
    assert key in said
    assert says in said
    assert restore(taken, folder).code == 0  # the same again, now that the object is what it was
    assert (folder / "data/global/pg_control").exists()


def test_an_object_that_is_missing(taken: Taken, folder: Path) -> None:
    key = taken.key("base.tar")
    before = taken.repository.store.get(key)
    taken.repository.store.delete([key])
    try:
        said = refused(taken, folder)
    finally:
        taken.repository.store.put(key, before)
    assert f"{key} is missing from" in said


def test_an_object_that_is_another_one(taken: Taken, folder: Path) -> None:
    manifest = taken.repository.store.get(taken.key("backup_manifest"))
    with changed(taken, "base.tar", lambda _: manifest) as key:
        assert key in refused(taken, folder)


def of_a_newer_program(record: bytes) -> bytes:
    body = record.partition(b',\n  "digest"')[0]
    return seal(body.replace(b'"format": 1', b'"format": 2') + b"\n}")


@pytest.mark.parametrize(
    ("how", "says"),
    [
        (lambda content: content[:-20], "cannot be read"),
        (lambda _: b"{}", "cannot be read"),
        (of_a_newer_program, "format"),
        (lambda content: content.replace(b'"sha256": "', b'"sha256": "0', 1), "altered"),
    ],
    ids=["truncated", "emptied", "newer", "digest"],
)
def test_a_record_that_is_damaged(taken: Taken, folder: Path, how: object, says: str) -> None:
    with changed(taken, "backup.json", how):
        said = refused(taken, folder)
        assert says in said
        assert taken.backup.id in said


def test_s3_dies_on_the_way(taken: Taken, folder: Path) -> None:
    with proxy_to(taken.settings.require("s3_endpoint_url")) as proxy:
        proxy.after = lambda _: proxy.cut() if proxy.relayed > 10_000_000 else None
        url = f"http://127.0.0.1:{proxy.port}"
        cut = Taken(taken.settings.model_copy(update={"s3_endpoint_url": url}), taken.repository, taken.backup)
        said = refused(cut, folder)
    assert "Cannot read" in said
    assert "Is the S3 server there?" in said
    assert restore(taken, folder).code == 0


def test_s3_falls_silent_on_the_way(taken: Taken, folder: Path) -> None:
    with proxy_to(taken.settings.require("s3_endpoint_url")) as proxy:
        proxy.after = lambda _: proxy.stall() if proxy.relayed > 10_000_000 else None
        hasty = {"s3_endpoint_url": f"http://127.0.0.1:{proxy.port}", "s3_timeout_seconds": 1, "s3_attempts": 1}
        cut = Taken(taken.settings.model_copy(update=hasty), taken.repository, taken.backup)
        assert "Cannot read" in refused(cut, folder)


@pytest.mark.parametrize("moment", [3, 6, 9])
def test_killed_on_the_way_it_cannot_be_started_and_the_same_again_succeeds(
    taken: Taken, folder: Path, moment: int
) -> None:
    assert ended_at(taken.settings, folder, nth(moment), "ops", "restore", "--target-dir", "data").acted
    assert not (folder / "data/global/pg_control").exists()
    again = restore(taken, folder)
    assert again.code == 0, again
    assert (folder / "data/global/pg_control").exists()
    third = restore(taken, folder)
    assert third.code == 1  # a whole database is never taken for something interrupted
    assert "is not empty" in third.sentence
