import hashlib
import json

import pytest

from ops_workflows.errors import IntegrityError
from ops_workflows.repository.manifest import parse_manifest

FILES = [
    {"Path": "base/1/1259", "Size": 8192, "Last-Modified": "x", "Checksum-Algorithm": "SHA256", "Checksum": "ab" * 32},
    {"Encoded-Path": "ff2f61", "Size": 0, "Last-Modified": "x", "Checksum-Algorithm": "SHA256", "Checksum": "cd" * 32},
]


def manifest(files: list[dict[str, object]] = FILES) -> bytes:  # type: ignore[assignment]
    entries = ",\n".join(json.dumps(file) for file in files)
    head = f'{{ "PostgreSQL-Backup-Manifest-Version": 2,\n"Files": [\n{entries}\n],\n"WAL-Ranges": [],\n'.encode()
    return head + f'"Manifest-Checksum": "{hashlib.sha256(head).hexdigest()}"}}\n'.encode()


def test_files_are_found_by_path() -> None:
    files = parse_manifest(manifest(), "it")
    assert files["base/1/1259"].size == 8192
    assert files["base/1/1259"].sha256 == "ab" * 32
    assert files["\udcff/a"].size == 0  # a name that is no UTF-8


@pytest.mark.parametrize("at", [10, 60, 200, -80])
def test_any_changed_byte_is_noticed(at: int) -> None:
    content = bytearray(manifest())
    content[at] ^= 1
    with pytest.raises(IntegrityError, match="it is"):
        parse_manifest(bytes(content), "it")


@pytest.mark.parametrize("content", [b"", b"{}", manifest()[:-3], manifest()[:100], b"\xff" * 100])
def test_what_is_no_whole_manifest(content: bytes) -> None:
    with pytest.raises(IntegrityError, match="it is no whole backup manifest"):
        parse_manifest(content, "it")


def test_another_kind_of_checksum() -> None:
    with pytest.raises(IntegrityError, match="CRC32C checksum and not SHA256"):
        parse_manifest(manifest([FILES[0] | {"Checksum-Algorithm": "CRC32C"}]), "it")


@pytest.mark.parametrize("lacking", ["Size", "Checksum", "Checksum-Algorithm", "Path"])
def test_an_entry_that_lacks_something(lacking: str) -> None:
    entry = {key: value for key, value in FILES[0].items() if key != lacking}
    with pytest.raises(IntegrityError, match="cannot be read as a backup manifest"):
        parse_manifest(manifest([entry]), "it")
