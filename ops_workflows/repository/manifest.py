"""PostgreSQL's backup manifest: which files a base backup has, and what each of them hashes to.

https://www.postgresql.org/docs/current/backup-manifest-format.html
"""

import hashlib
import json
import re
from dataclasses import dataclass

from ops_workflows.errors import IntegrityError

_OWN_CHECKSUM = re.compile(rb'\n"Manifest-Checksum": "([0-9a-f]{64})"\}\s*\Z')


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One file of the backup, as the server read it."""

    path: str
    size: int
    sha256: str


def parse_manifest(content: bytes, name: str) -> dict[str, ManifestFile]:
    """The files of a manifest by path, once its own checksum has been found right.

    Args:
        content: The manifest.
        name: What an error calls it.

    Raises:
        IntegrityError: It is altered, or no manifest with SHA-256 checksums.
    """
    own = _OWN_CHECKSUM.search(content)
    if own is None:
        raise IntegrityError(f"{name} is no whole backup manifest: its checksum is missing.")
    if hashlib.sha256(content[: own.start() + 1]).hexdigest() != own[1].decode():
        raise IntegrityError(f"{name} is altered: its checksum does not fit its content.")
    try:
        entries = json.loads(content)["Files"]
        files = [_file(entry) for entry in entries]
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"{name} cannot be read as a backup manifest: {error!r}.") from error
    return {file.path: file for file in files}


def _file(entry: dict[str, str]) -> ManifestFile:
    path = entry.get("Path")
    if path is None:  # names that are not UTF-8 come in hexadecimal
        path = bytes.fromhex(entry["Encoded-Path"]).decode(errors="surrogateescape")
    if entry["Checksum-Algorithm"] != "SHA256":
        raise ValueError(f"{path} has a {entry['Checksum-Algorithm']} checksum and not SHA256")
    return ManifestFile(path, int(entry["Size"]), entry["Checksum"])
