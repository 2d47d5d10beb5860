"""A bucket over the S3 API: every call that this project makes, each with a timeout and an error that says what to do.

This is the only module that knows boto3. Checksums are our own: SHA-256 of each body is computed here, sent along, and
checked by the server, because S3 look-alikes differ in which of the newer default checksums they accept.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    IncompleteReadError,
    InvalidRegionError,
    NoCredentialsError,
    ParamValidationError,
    ReadTimeoutError,
    ResponseStreamingError,
)

from ops_workflows.errors import ConfigurationError, IntegrityError, RefusedError, StorageError
from ops_workflows.settings import Settings
from ops_workflows.storage.checksums import sha256_base64
from ops_workflows.storage.objects import PendingUpload, StoredObject, StoredPart
from ops_workflows.storage.protection import Protection
from ops_workflows.storage.versions import StoredVersion

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_ADVICE = {
    "NoSuchBucket": "create the bucket, or correct OPS_S3_BUCKET",
    "InvalidAccessKeyId": "correct OPS_S3_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "correct OPS_S3_SECRET_ACCESS_KEY",
    "AccessDenied": "grant this key read, write, list and delete on the bucket",
    "403": "grant this key read, write, list and delete on the bucket",
    "404": "create the bucket, or correct OPS_S3_BUCKET",
    "RequestTimeTooSkewed": "set this machine's clock",
    "InvalidRequest": "see whether the bucket offers what OPS_S3_SSE and OPS_S3_OBJECT_LOCK_MODE ask for",
}
# boto3 retries until an answer begins; when its body breaks off or falls silent, trying again is left to us.
_TORN = (IncompleteReadError, ReadTimeoutError, ResponseStreamingError)
_TORN_READS = 2
_DELETE_BATCH = 1000  # the most that one DeleteObjects call takes


class S3Store:
    """One bucket; what it does is said by `ObjectStore`."""

    def __init__(self, client: "S3Client", bucket: str, protection: Protection) -> None:
        self.bucket = bucket
        self._client = client
        self._protection = protection

    def __str__(self) -> str:
        return f"s3://{self.bucket} at {self._client.meta.endpoint_url}"

    def check(self) -> None:
        """Raise StorageError, saying what to do, unless the bucket answers to our key."""
        # A listing and not a HEAD: the answer to a HEAD has no body, so it cannot say which of key and bucket is wrong.
        self._call("list", "", self._client.list_objects_v2, Bucket=self.bucket, MaxKeys=1)

    def is_versioned(self) -> bool:
        """Whether the bucket keeps what is overwritten or deleted."""
        answer = self._call("read the versioning of", "", self._client.get_bucket_versioning, Bucket=self.bucket)
        return bool(answer.get("Status") == "Enabled")

    def keep_versions(self) -> None:
        """Have the bucket keep what is overwritten or deleted from now on."""
        if not self.is_versioned():
            call, wanted = self._client.put_bucket_versioning, {"Status": "Enabled"}
            self._call("switch on the versioning of", "", call, Bucket=self.bucket, VersioningConfiguration=wanted)

    def put(
        self,
        key: str,
        body: bytes,
        *,
        if_absent: bool = False,
        metadata: Mapping[str, str] | None = None,
        lock: bool = False,
    ) -> StoredObject:
        """Store a small object whole; see `ObjectStore.put`."""
        checksum = sha256_base64(body)
        condition = {"IfNoneMatch": "*"} if if_absent else {}
        try:
            answer = self._client.put_object(
                Bucket=self.bucket,
                Key=key,
                Body=body,
                ChecksumSHA256=checksum,
                Metadata=metadata or {},
                **self._protection.parameters(lock=lock),
                **condition,  # type: ignore[arg-type]
            )
        except ClientError as error:
            if if_absent and _code(error) in {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}:
                raise RefusedError(f"{key} is in {self} already and is never replaced.") from None
            raise self._failure("store", key, error) from error
        except BotoCoreError as error:
            raise self._failure("store", key, error) from error
        return StoredObject(key, len(body), answer["ETag"], checksum=checksum, metadata=dict(metadata or {}))

    def get(self, key: str) -> bytes:
        """A small object's bytes, whole."""
        return self._call("read", key, self._read, Bucket=self.bucket, Key=key)

    def get_range(self, key: str, start: int, length: int, etag: str) -> bytes:
        """`length` bytes of an object from `start`.

        Raises:
            IntegrityError: The object is gone, or no longer the one that `etag` names, or ended too soon.
            StorageError: The bucket did not answer.
        """
        last = start + length - 1
        try:
            body = self._call(
                "read", key, self._read, Bucket=self.bucket, Key=key, Range=f"bytes={start}-{last}", IfMatch=etag
            )
        except _AlteredError:
            raise IntegrityError(
                f"{key} in {self} is not the object that was stored: it is gone, or its version tag differs."
            ) from None
        if len(body) != length:
            raise IntegrityError(f"{key} in {self} is truncated: bytes {start} to {last} gave only {len(body)}.")
        return body

    def head(self, key: str) -> StoredObject | None:
        """What the bucket says of an object; None when it is not there."""
        try:
            answer = self._client.head_object(Bucket=self.bucket, Key=key, ChecksumMode="ENABLED")
        except ClientError as error:
            if _code(error) in {"404", "NoSuchKey", "NotFound"}:
                return None
            raise self._failure("look at", key, error) from error
        except BotoCoreError as error:
            raise self._failure("look at", key, error) from error
        size, etag, modified = answer["ContentLength"], answer["ETag"], answer["LastModified"]
        return StoredObject(key, size, etag, modified, answer.get("ChecksumSHA256"), answer.get("Metadata", {}))

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        """Every object below a prefix, in order of key."""
        for page in self._pages("list_objects_v2", prefix):
            for found in page.get("Contents", []):
                yield StoredObject(found["Key"], found["Size"], found["ETag"], found["LastModified"])

    def folders(self, prefix: str) -> Iterator[str]:
        """The names directly below a prefix (which ends in a slash) that have something below them."""
        for page in self._pages("list_objects_v2", prefix, Delimiter="/"):
            for found in page.get("CommonPrefixes", []):
                yield found["Prefix"][len(prefix) :].rstrip("/")

    def delete(self, keys: Iterable[str]) -> int:
        """Delete objects (in a versioned bucket their old versions stay); the number of those deleted.

        Raises:
            StorageError: One of them could not be deleted; the text names it.
        """
        wanted = list(keys)
        for start in range(0, len(wanted), _DELETE_BATCH):
            batch = [{"Key": key} for key in wanted[start : start + _DELETE_BATCH]]
            answer = self._call(
                "delete", batch[0]["Key"], self._client.delete_objects, Bucket=self.bucket, Delete={"Objects": batch}
            )
            for refused in answer.get("Errors", []):
                raise StorageError(f"Cannot delete {refused['Key']} in {self}: {refused.get('Message', 'refused')}.")
        return len(wanted)

    def versions(self, prefix: str) -> Iterator[StoredVersion]:
        """Every version and delete marker below a prefix, key by key, the newest of each key first."""
        for page in self._pages("list_object_versions", prefix):
            # The SDK sorts what was one list into two; only the order within a page is lost by that.
            found = [
                StoredVersion(
                    each["Key"],
                    each["VersionId"],
                    each["LastModified"],
                    each["IsLatest"],
                    is_marker,
                    each.get("Size", 0),
                )
                for kind, is_marker in (("Versions", False), ("DeleteMarkers", True))
                for each in page.get(kind, [])
            ]
            yield from sorted(found, key=lambda each: (each.key, not each.is_latest, -each.modified.timestamp()))

    def delete_versions(self, versions: Sequence[StoredVersion]) -> list[tuple[str, str]]:
        """Delete exactly these versions and markers, for good.

        Returns:
            Key and reason of each that the bucket keeps nevertheless, as it does while object lock says so.

        Raises:
            StorageError: The bucket did not answer.
        """
        kept: list[tuple[str, str]] = []
        for start in range(0, len(versions), _DELETE_BATCH):
            batch = [
                {"Key": each.key, "VersionId": each.version_id} for each in versions[start : start + _DELETE_BATCH]
            ]
            answer = self._call(
                "delete old versions of",
                batch[0]["Key"],
                self._client.delete_objects,
                Bucket=self.bucket,
                Delete={"Objects": batch, "Quiet": True},
            )
            kept.extend(
                (each["Key"], each.get("Message") or each.get("Code", "refused")) for each in answer.get("Errors", [])
            )
        return kept

    def begin_upload(self, key: str) -> str:
        """Begin a multipart upload; its id."""
        answer = self._call(
            "begin to store",
            key,
            self._client.create_multipart_upload,
            Bucket=self.bucket,
            Key=key,
            ChecksumAlgorithm="SHA256",
            **self._protection.parameters(lock=True),
        )
        return str(answer["UploadId"])

    def put_part(
        self,
        key: str,
        upload_id: str,
        number: int,
        body: bytes | bytearray,
        *,
        offset: int,  # noqa: ARG002 - S3 puts the parts together by their numbers
    ) -> StoredPart:
        """Store one part, numbered from 1, whose SHA-256 the server checks."""
        checksum = sha256_base64(body)
        answer = self._call(
            f"store part {number} of",
            key,
            self._client.upload_part,
            Bucket=self.bucket,
            Key=key,
            UploadId=upload_id,
            PartNumber=number,
            Body=body,
            ChecksumSHA256=checksum,
        )
        return StoredPart(number, len(body), answer["ETag"], checksum)

    def complete_upload(self, key: str, upload_id: str, parts: Sequence[StoredPart]) -> str:
        """Make the object out of its parts; its version tag."""
        answer = self._call(
            "complete",
            key,
            self._client.complete_multipart_upload,
            Bucket=self.bucket,
            Key=key,
            UploadId=upload_id,
            MultipartUpload={
                "Parts": [
                    {"PartNumber": part.number, "ETag": part.etag, "ChecksumSHA256": part.checksum} for part in parts
                ]
            },
        )
        return str(answer["ETag"])

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Let go of a multipart upload and of the parts it has; no error when it is gone already."""
        try:
            self._client.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload_id)
        except ClientError as error:
            if _code(error) not in {"NoSuchUpload", "404"}:
                raise self._failure("abort the upload of", key, error) from error
        except BotoCoreError as error:
            raise self._failure("abort the upload of", key, error) from error

    def pending_uploads(self, prefix: str) -> Iterator[PendingUpload]:
        """Multipart uploads below a prefix that were begun and never ended."""
        for page in self._pages("list_multipart_uploads", prefix):
            for found in page.get("Uploads", []):
                yield PendingUpload(found["Key"], found["UploadId"], found["Initiated"])

    def _read(self, **request: Any) -> bytes:
        for torn in range(_TORN_READS + 1):
            try:
                # Not the body itself as the context: that yields the bare stream, whose errors are not the SDK's.
                with closing(self._client.get_object(**request)["Body"]) as body:
                    return body.read()
            except ClientError as error:
                if "IfMatch" in request and _code(error) in {"PreconditionFailed", "412", "NoSuchKey"}:
                    raise _AlteredError from None
                raise
            except _TORN:
                if torn == _TORN_READS:
                    raise
        raise AssertionError  # the last round returns or raises

    def _pages(self, operation: Any, prefix: str, **more: Any) -> Iterator[Any]:
        pages = iter(self._client.get_paginator(operation).paginate(Bucket=self.bucket, Prefix=prefix, **more))
        while (page := self._call("list", prefix, next, pages, None)) is not None:
            yield page

    def _call[T](self, verb: str, key: str, call: Callable[..., T], *arguments: Any, **request: Any) -> T:
        try:
            return call(*arguments, **request)
        except (ClientError, BotoCoreError) as error:
            raise self._failure(verb, key, error) from error

    def _failure(self, verb: str, key: str, error: ClientError | BotoCoreError) -> StorageError:
        what = f"Cannot {verb} {key} in {self}" if key else f"Cannot {verb} {self}"
        if isinstance(error, ClientError):
            code = _code(error)
            said = error.response.get("Error", {}).get("Message") or code
            return StorageError(f"{what}: {said.rstrip('.')}. To do: {_ADVICE.get(code, "see the S3 server's log")}.")
        if isinstance(error, NoCredentialsError):
            return StorageError(f"{what}: there is no key. Set OPS_S3_ACCESS_KEY_ID and OPS_S3_SECRET_ACCESS_KEY.")
        if isinstance(error, ParamValidationError):  # by the SDK: nothing was asked of the server
            return StorageError(
                f"{what}: no bucket or key can be called so. Correct OPS_S3_BUCKET, or the URL that names the bucket."
            )
        return StorageError(f"{what}: {str(error).rstrip('.')}. Is the S3 server there? See OPS_S3_ENDPOINT_URL.")


class _AlteredError(Exception):
    """The object is gone, or another one than the one asked for."""


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "unknown"))


def _client(settings: Settings) -> "S3Client":
    key, secret = settings.s3_access_key_id, settings.s3_secret_access_key
    if (key is None) != (secret is None):
        raise ConfigurationError("Set both OPS_S3_ACCESS_KEY_ID and OPS_S3_SECRET_ACCESS_KEY, or neither.")
    try:
        return boto3.client(
            "s3",
            endpoint_url=settings.s3_endpoint_url,
            region_name=settings.s3_region,
            aws_access_key_id=key.get_secret_value() if key else None,
            aws_secret_access_key=secret.get_secret_value() if secret else None,
            verify=str(settings.s3_ca_file) if settings.s3_ca_file else None,
            config=Config(
                connect_timeout=settings.connect_timeout_seconds,
                read_timeout=settings.s3_timeout_seconds,
                retries={"total_max_attempts": settings.s3_attempts, "mode": "standard"},
                max_pool_connections=settings.s3_threads + 4,
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                s3={"addressing_style": "path" if settings.s3_endpoint_url else "auto"},
            ),
        )
    except InvalidRegionError as error:
        raise ConfigurationError(
            f"OPS_S3_REGION is {settings.s3_region!r}, which can be no region's name: correct it, such as eu-central-1."
        ) from error
    except (BotoCoreError, ValueError) as error:
        said = str(error).rstrip(".")
        raise ConfigurationError(f"The S3 settings cannot be used: {said}. See OPS_S3_ENDPOINT_URL.") from error


def open_store(settings: Settings) -> S3Store:
    """The bucket that the settings name. Nothing is asked of it yet."""
    return S3Store(_client(settings), settings.require("s3_bucket"), Protection.of(settings))


def create_bucket(settings: Settings, *, versioning: bool) -> None:
    """Create the bucket that the settings name unless it is there, and switch its versioning on if asked to.

    Where the settings ask for object lock, the new bucket is one that can do it.
    """
    client, bucket = _client(settings), settings.require("s3_bucket")
    store = S3Store(client, bucket, Protection.of(settings))
    try:
        client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=settings.s3_object_lock_mode != "none")
    except client.exceptions.BucketAlreadyOwnedByYou:
        pass
    except ClientError as error:
        if _code(error) != "BucketAlreadyExists":
            raise StorageError(f"Cannot create bucket {quote(bucket)}: {error}.") from error
    except BotoCoreError as error:
        raise StorageError(f"Cannot create bucket {quote(bucket)}: {error}.") from error
    if versioning:
        store.keep_versions()
