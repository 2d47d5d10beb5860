"""SHA-256 in the forms in which S3 takes and reports it; a folder keeps the same, so that the two can be compared."""

import base64
import hashlib


def sha256_base64(body: bytes | bytearray | memoryview) -> str:
    """SHA-256 of a body, base64."""
    return base64.b64encode(hashlib.sha256(body).digest()).decode()


def composite(part_checksums: list[str]) -> str:
    """S3's composite checksum: SHA-256 over the parts' SHA-256, base64, with the number of parts.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html
    """
    digests = b"".join(base64.b64decode(checksum) for checksum in part_checksums)
    return f"{base64.b64encode(hashlib.sha256(digests).digest()).decode()}-{len(part_checksums)}"
