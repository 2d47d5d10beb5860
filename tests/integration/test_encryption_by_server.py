"""What the S3 server is asked to do for each object: headers are sent, locks hold, refusals are clear."""

import secrets
from typing import Any

import pytest

from ops_workflows.errors import ConfigurationError, StorageError
from ops_workflows.settings import Settings
from ops_workflows.storage.s3 import S3Store, create_bucket, open_store
from ops_workflows.storage.upload import Upload


def sent(store: S3Store) -> list[dict[str, str]]:
    """The headers of every request from now on."""
    requests: list[dict[str, str]] = []

    def remember(request: Any, **_: Any) -> None:
        decoded = {
            name.lower(): value.decode() if isinstance(value, bytes) else value
            for name, value in request.headers.items()
        }
        requests.append({"method": request.method} | decoded)

    store._client.meta.events.register("before-send.s3", remember)
    return requests


def upload(store: S3Store, key: str) -> None:
    with Upload(store, key, threads=1) as writer:
        writer.write(b"rows")
        writer.finish()


@pytest.fixture(scope="module")
def locking(settings: Settings) -> S3Store:
    name = f"locked-{secrets.token_hex(4)}"
    own = settings.model_copy(update={"s3_bucket": name, "s3_object_lock_mode": "COMPLIANCE", "s3_object_lock_days": 1})
    create_bucket(own, versioning=True)
    return open_store(own)


def test_a_locked_object_cannot_be_deleted_for_good(locking: S3Store) -> None:
    locking.put("backup.json", b"{}", if_absent=True, lock=True)
    upload(locking, "base.tar.zst")
    kept = locking.delete_versions(list(locking.versions("")))
    assert sorted(key for key, _ in kept) == ["backup.json", "base.tar.zst"]
    assert all(reason for _, reason in kept)
    assert [found.key for found in locking.objects("")] == ["backup.json", "base.tar.zst"]


def test_what_is_replaced_is_not_locked(locking: S3Store) -> None:
    locking.put("tail.zst", b"x")
    assert not locking.delete_versions(list(locking.versions("tail")))
    assert locking.head("tail.zst") is None


def test_a_bucket_without_locks_refuses_in_a_sentence(settings: Settings) -> None:
    store = open_store(settings.model_copy(update={"s3_object_lock_mode": "GOVERNANCE"}))
    with pytest.raises(StorageError, match=r"Cannot store never-there .* OPS_S3_OBJECT_LOCK_MODE"):
        store.put("never-there", b"x", lock=True)


@pytest.mark.parametrize(
    ("wanted", "headers"),
    [
        ({"s3_sse": "none"}, {}),
        ({"s3_sse": "AES256"}, {"x-amz-server-side-encryption": "AES256"}),
        (
            {"s3_sse": "aws:kms", "s3_sse_kms_key_id": "alias/ops"},
            {
                "x-amz-server-side-encryption": "aws:kms",
                "x-amz-server-side-encryption-aws-kms-key-id": "alias/ops",
            },
        ),
    ],
    ids=["none", "s3", "kms"],
)
def test_the_server_is_asked_to_encrypt_every_object(
    settings: Settings, wanted: dict[str, str], headers: dict[str, str]
) -> None:
    store = open_store(settings.model_copy(update={"s3_attempts": 1} | wanted))
    requests = sent(store)
    prefix = f"t_{secrets.token_hex(4)}"
    for attempt in (lambda: store.put(f"{prefix}/a", b"x"), lambda: upload(store, f"{prefix}/b")):
        if wanted["s3_sse"] == "aws:kms":  # for which the embedded server has no keys
            with pytest.raises(StorageError, match=f"Cannot store .*{prefix}/"):
                attempt()
        else:
            attempt()
    beginnings = [request for request in requests if request["method"] in {"PUT", "POST"}][:2]
    assert len(beginnings) == 2
    for request in beginnings:
        found = {name: value for name, value in request.items() if name.startswith("x-amz-server-side")}
        assert found == headers
    store.delete([f"{prefix}/a", f"{prefix}/b"])


def test_a_key_that_nothing_would_use_is_refused(settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match="OPS_S3_SSE_KMS_KEY_ID is of use only with OPS_S3_SSE=aws:kms"):
        open_store(settings.model_copy(update={"s3_sse_kms_key_id": "alias/ops"}))
