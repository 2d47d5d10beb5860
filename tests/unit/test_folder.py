"""What is particular to a folder as a place for objects; what it shares with a bucket, the contract's tests show."""

import multiprocessing
import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as within
from hypothesis import strategies as st

from ops_workflows.errors import ConfigurationError, RefusedError, StorageError
from ops_workflows.postgres.processes import wait_until
from ops_workflows.settings import Settings
from ops_workflows.storage.folder import FolderStore
from ops_workflows.storage.store import open_store

NAMES = st.text("ab.-%é0", min_size=1, max_size=3).filter(lambda name: not name.startswith("."))
KEYS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    root = tmp_path / "repository"
    root.mkdir()
    return FolderStore(root)


def everything(store: FolderStore) -> set[Path]:
    return set(store.root.rglob("*"))


@given(wanted=st.sets(KEYS, max_size=12), prefix=st.text("ab./", max_size=3))
@within(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_listing_has_the_order_and_the_prefixes_of_a_bucket(
    store: FolderStore, wanted: set[str], prefix: str
) -> None:
    stored = set()
    for key in sorted(wanted):
        # A bucket has both `a` and `a/b`, a folder cannot; no key of ours is the beginning of another.
        if not any(f"{other}/".startswith(f"{key}/") or f"{key}/".startswith(f"{other}/") for other in stored):
            store.put(key, b"x")
            stored.add(key)
    assert [found.key for found in store.objects("")] == sorted(stored)
    assert [found.key for found in store.objects(prefix)] == sorted(key for key in stored if key.startswith(prefix))
    store.delete(stored)
    assert not everything(store)


@pytest.mark.parametrize("key", ["", "/etc/x", "a//b", "../x", "a/../../x", "a/.", ".hidden", "a/.b", "a/", "a\0b"])
def test_no_key_leads_out_of_the_folder_or_to_a_hidden_file(store: FolderStore, key: str) -> None:
    for attempt in (lambda: store.put(key, b"x"), lambda: store.get(key), lambda: store.delete([key])):
        with pytest.raises(StorageError, match="cannot be stored in a folder"):
            attempt()
    assert not everything(store)


def test_a_folder_that_is_not_there_is_not_made_and_not_taken_for_empty(tmp_path: Path) -> None:
    missing = FolderStore(tmp_path / "not mounted")
    for attempt in (
        missing.check,
        lambda: missing.put("a", b"x"),
        lambda: missing.get("a"),
        lambda: missing.head("a"),
        lambda: list(missing.objects("")),
        lambda: list(missing.folders("")),
        lambda: missing.delete(["a"]),
    ):
        with pytest.raises(StorageError, match="is not there: make the folder, or mount what it lies on"):
            attempt()
    assert not (tmp_path / "not mounted").exists()


def test_of_many_writers_one_is_first_and_readers_see_whole_objects(store: FolderStore) -> None:
    def write(number: int) -> bool:
        try:
            store.put("a/one", bytes([number]) * 100_000, if_absent=True)
        except RefusedError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        first = [number for number, won in enumerate(pool.map(write, range(32))) if won]
    assert len(first) == 1
    assert store.get("a/one") == bytes(first) * 100_000
    assert everything(store) == {store.root / "a", store.root / "a/one"}


def test_folders_that_come_and_go_lose_nothing(store: FolderStore) -> None:
    def write_and_delete(number: int) -> None:
        store.put(f"a/b/{number}", b"x")
        if number % 5:
            store.delete([f"a/b/{number}"])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write_and_delete, range(200)))
    assert {found.key for found in store.objects("")} == {f"a/b/{number}" for number in range(0, 200, 5)}


def _write_for_ever(root: Path) -> None:
    store = FolderStore(root)
    while True:
        store.put("a/one", bytes([os.urandom(1)[0]]) * 1_000_000)


def test_a_killed_writer_leaves_a_whole_object_and_what_a_sweep_finds(store: FolderStore) -> None:
    spawn = multiprocessing.get_context("spawn")
    for _ in range(4):
        store.delete(["a/one"])
        writer = spawn.Process(target=_write_for_ever, args=(store.root,))
        writer.start()
        try:
            assert wait_until(lambda: store.head("a/one") is not None, timeout=30)
            assert writer.pid is not None
            os.kill(writer.pid, signal.SIGKILL)
        finally:
            writer.kill()
            writer.join(30)
        content = store.get("a/one")
        assert content == content[:1] * 1_000_000
        assert [found.key for found in store.objects("")] == ["a/one"]
    for pending in list(store.pending_uploads("a/")):
        assert pending.key == "a/one"
        store.abort_upload(pending.key, pending.upload_id)
    assert everything(store) == {store.root / "a", store.root / "a/one"}


def test_only_its_owner_can_read_it(store: FolderStore) -> None:
    store.put("a/one", b"x")
    assert (store.root / "a").stat().st_mode & 0o777 == 0o700
    assert (store.root / "a/one").stat().st_mode & 0o777 == 0o600


def test_a_folder_that_is_not_ours_is_refused(store: FolderStore) -> None:
    with unwritable(store.root):
        with pytest.raises(StorageError, match=r"let this account read and write there|Read-only file system"):
            store.put("a", b"x")
        with pytest.raises(StorageError, match=r"let this account read and write there|Read-only file system"):
            store.check()


@contextmanager
def unwritable(folder: Path) -> Iterator[None]:
    """Mode bits do not stop root; a read-only file system does."""
    if os.geteuid() != 0:
        folder.chmod(0o500)
        yield
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", folder], check=True, timeout=10)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True, timeout=10)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_full_disk_is_said_to_be_full_and_left_as_it_was(store: FolderStore) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", store.root], check=True, timeout=10)
    try:
        store.put("a/one", b"kept")
        with pytest.raises(StorageError, match=r"Cannot store a/two in .*: No space left on device.* make room there"):
            store.put("a/two", bytes(5_000_000))
        assert store.get("a/one") == b"kept"
        assert everything(store) == {store.root / "a", store.root / "a/one"}
    finally:
        subprocess.run(["umount", store.root], check=True, timeout=10)


def test_the_settings_lead_to_it(tmp_path: Path) -> None:
    settings = Settings.read(tmp_path).at((tmp_path / "with space").as_uri())
    assert settings.repository_folder == tmp_path / "with space"
    assert settings.repository_prefix == ""
    assert str(open_store(settings)) == (tmp_path / "with space").as_uri()
    bucket = settings.at("s3://other/some/prefix/")
    assert (bucket.repository_folder, bucket.s3_bucket, bucket.repository_prefix) == (None, "other", "some/prefix")
    assert settings.at("s3://other").repository_prefix == ""
    for wrong in ("file://host/x", "/srv/x", "s3://", "http://x/y", "file:srv"):
        with pytest.raises(ConfigurationError, match="write file:///FOLDER or s3://BUCKET/PREFIX"):
            settings.at(wrong)


def test_an_url_that_names_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("OPS_REPOSITORY_URL=s3://bucket/prefix\n")
    with pytest.raises(ConfigurationError, match="OPS_REPOSITORY_URL cannot be used"):
        Settings.read(tmp_path)
