"""The same promises, held by a bucket and by a folder."""

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ops_workflows.errors import IntegrityError, OpsError, RefusedError, StorageError
from ops_workflows.settings import Settings
from ops_workflows.storage.checksums import composite, sha256_base64
from ops_workflows.storage.fetch import fetch
from ops_workflows.storage.store import ObjectStore, open_store
from ops_workflows.storage.upload import Upload

MiB = 1024 * 1024


@pytest.fixture(params=["bucket", "folder"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "folder":
        return open_store(Settings.read(tmp_path).at(tmp_path.as_uri()))
    settings: Settings = request.getfixturevalue("settings")
    return open_store(settings)


@pytest.fixture
def under(store: ObjectStore) -> Iterator[str]:
    """A prefix of the test's own."""
    prefix = f"t_{secrets.token_hex(4)}/"
    yield prefix
    store.delete([found.key for found in store.objects(prefix)])


def test_it_is_there(store: ObjectStore) -> None:
    store.check()
    assert "://" in str(store)


def test_what_is_put_is_what_is_got(store: ObjectStore, under: str) -> None:
    for body in (b"", b"rows", bytes(3 * MiB)):
        put = store.put(f"{under}a/b", body)
        assert store.get(f"{under}a/b") == body
        found = store.head(f"{under}a/b")
        assert found is not None
        assert (found.key, found.size, found.etag) == (f"{under}a/b", len(body), put.etag)
        assert found.checksum == put.checksum == sha256_base64(body)
        assert found.modified is not None
        assert abs(found.modified - datetime.now(UTC)) < timedelta(minutes=1)


def test_what_is_not_there_is_said_to_be_missing(store: ObjectStore, under: str) -> None:
    assert store.head(f"{under}a") is None
    store.put(f"{under}a/b", b"x")
    assert store.head(f"{under}a") is None
    assert list(store.objects(f"{under}b")) == []
    with pytest.raises(StorageError, match=f"{under}c"):
        store.get(f"{under}c")
    with pytest.raises(IntegrityError, match=f"{under}c .* is gone"):
        store.get_range(f"{under}c", 0, 1, '"tag"')


def test_metadata_is_told(store: ObjectStore, under: str) -> None:
    store.put(f"{under}a", b"x", if_absent=True, metadata={"sha256": "ab" * 32, "other": "1"})
    found = store.head(f"{under}a")
    assert found is not None
    assert dict(found.metadata) == {"sha256": "ab" * 32, "other": "1"}
    store.put(f"{under}a", b"x")
    replaced = store.head(f"{under}a")
    assert replaced is not None
    assert not replaced.metadata


def test_what_is_there_is_not_replaced_if_absent(store: ObjectStore, under: str) -> None:
    store.put(f"{under}a", b"first", if_absent=True)
    with pytest.raises(RefusedError, match=f"{under}a is in .* already and is never replaced"):
        store.put(f"{under}a", b"second", if_absent=True)
    assert store.get(f"{under}a") == b"first"
    assert not list(store.pending_uploads(under))


def test_a_range_is_of_the_object_that_was_asked_for(store: ObjectStore, under: str) -> None:
    etag = store.put(f"{under}a", b"0123456789").etag
    assert store.get_range(f"{under}a", 3, 4, etag) == b"3456"
    with pytest.raises(OpsError):
        store.get_range(f"{under}a", 8, 4, etag)
    store.put(f"{under}a", b"9876543210")
    with pytest.raises(IntegrityError, match=f"{under}a .* its version tag differs"):
        store.get_range(f"{under}a", 3, 4, etag)


def test_listings_are_in_order_and_tell_folders(store: ObjectStore, under: str) -> None:
    names = ["b/1", "a.txt", "a/2", "a/1", "b/c/3", "a-/1", "top"]
    for name in names:
        store.put(under + name, name.encode())
    listed = list(store.objects(under))
    assert [found.key for found in listed] == sorted(under + name for name in names)
    assert [found.size for found in listed] == [len(found.key) - len(under) for found in listed]
    assert {found.key: found.etag for found in listed} == {
        found.key: head.etag for found in listed if (head := store.head(found.key))
    }
    assert [found.key for found in store.objects(f"{under}a")] == [
        f"{under}{name}" for name in ("a-/1", "a.txt", "a/1", "a/2")
    ]
    assert sorted(store.folders(under)) == ["a", "a-", "b"]
    assert list(store.folders(f"{under}b/")) == ["c"]


def test_deleting_is_repeatable_and_empties_folders(store: ObjectStore, under: str) -> None:
    for name in ("a/1", "a/2", "b/1"):
        store.put(under + name, b"x")
    assert store.delete([f"{under}a/1", f"{under}a/2", f"{under}a/3"]) == 3
    assert store.delete([f"{under}a/1"]) == 1
    assert list(store.folders(under)) == ["b"]


def test_an_upload_becomes_one_object_with_the_checksum_of_its_parts(store: ObjectStore, under: str) -> None:
    body = secrets.token_bytes(MiB) * 20
    with Upload(store, f"{under}a/big", threads=3) as upload:
        for start in range(0, len(body), 3 * MiB):
            upload.write(body[start : start + 3 * MiB])
        assert store.head(f"{under}a/big") is None
        (pending,) = store.pending_uploads(under)
        assert pending.key == f"{under}a/big"
        assert abs(pending.begun - datetime.now(UTC)) < timedelta(minutes=1)
        done = upload.finish()
    assert not list(store.pending_uploads(under))
    parts = [body[start : start + 8 * MiB] for start in range(0, len(body), 8 * MiB)]
    found = store.head(f"{under}a/big")
    assert found is not None
    assert (found.size, found.etag) == (len(body), done.etag)
    assert done.checksum == composite([sha256_base64(part) for part in parts])
    assert found.checksum in {done.checksum, None}
    pieces = fetch(store, f"{under}a/big", size=done.size, sha256=done.sha256, threads=3)
    assert b"".join(pieces) == body


def test_an_empty_upload_is_an_empty_object(store: ObjectStore, under: str) -> None:
    with Upload(store, f"{under}a", threads=1) as upload:
        upload.finish()
    assert store.get(f"{under}a") == b""


def test_an_upload_that_is_left_leaves_nothing(store: ObjectStore, under: str) -> None:
    def leave() -> None:
        with Upload(store, f"{under}a/b", threads=2) as upload:
            upload.write(bytes(20 * MiB))
            raise ValueError("left")

    with pytest.raises(ValueError, match="left"):
        leave()
    assert not list(store.pending_uploads(under))
    assert not list(store.objects(under))
    assert not list(store.folders(under))


def test_parts_may_come_in_any_order_and_an_upload_may_be_aborted_twice(store: ObjectStore, under: str) -> None:
    first, second = b"1" * (5 * MiB), b"2" * 100
    upload_id = store.begin_upload(f"{under}a")
    later = store.put_part(f"{under}a", upload_id, 2, second, offset=len(first))
    earlier = store.put_part(f"{under}a", upload_id, 1, first, offset=0)
    etag = store.complete_upload(f"{under}a", upload_id, [earlier, later])
    assert store.get_range(f"{under}a", 5 * MiB - 1, 2, etag) == b"12"
    store.abort_upload(f"{under}a", upload_id)
    abandoned = store.begin_upload(f"{under}b")
    store.put_part(f"{under}b", abandoned, 1, second, offset=0)
    store.abort_upload(f"{under}b", abandoned)
    store.abort_upload(f"{under}b", abandoned)
    with pytest.raises(StorageError, match=f"{under}b"):
        store.put_part(f"{under}b", abandoned, 2, second, offset=100)
    assert [found.key for found in store.objects(under)] == [f"{under}a"]
