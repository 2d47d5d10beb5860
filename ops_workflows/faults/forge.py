"""Faults that fit: something is altered, and the records that speak of it are, too, so that a higher rung has to tell.

This is what a defect of the software that wrote the backup looks like, as against one of the bucket.
"""

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from ops_workflows.errors import IntegrityError
from ops_workflows.faults.tamper import Kept, changed, replace
from ops_workflows.repository.backup import Backup, StoredArchive
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.layout import MANIFEST, RECORD
from ops_workflows.repository.records import sealed
from ops_workflows.storage.codec import Codec, compress, decompress

_LEVEL = 1
_OWN_CHECKSUM = re.compile(rb'"Manifest-Checksum": "[0-9a-f]{64}"\}\s*\Z')


@contextmanager
def forged(
    repository: Repository, backup: Backup, contents: Mapping[str, bytes], more: Mapping[str, object] | None = None
) -> Iterator[None]:
    """Other bytes in some of a backup's objects, and a record that fits them, for the length of a `with`.

    Args:
        repository: Where.
        backup: Which.
        contents: The new bytes by the object's name.
        more: Further fields of the record.
    """
    store, layout = repository.store, repository.layout
    record = layout.backup(backup.id, RECORD)
    objects = {stored.name: stored for stored in backup.objects}
    with ExitStack() as stack:
        for name, content in contents.items():
            key = layout.backup(backup.id, name)
            kept = Kept.of(store, key)
            stack.callback(kept.put_back, store)
            replace(store, kept, content)
            objects[name] = _stored(repository, key, name, content)
        update = {"objects": tuple(objects.values())} | dict(more or {})
        written = sealed(backup.model_copy(update=update))
        stack.enter_context(changed(store, record, lambda _was: written))
        yield


def archive(repository: Repository, backup: Backup) -> bytearray:
    """The first archive of a backup, unpacked but for the tar.

    Raises:
        IntegrityError: It is not what was stored.
    """
    stored = backup.archives()[0]
    content = repository.store.get(repository.layout.backup(backup.id, stored.name))
    return bytearray(b"".join(decompress(backup.codec, [content], stored.name)))


def packed(backup: Backup, content: bytes | bytearray) -> dict[str, bytes]:
    """That archive again, by its name, and the codec that it has now, which is always zstd."""
    if backup.codec is not Codec.ZSTD:
        raise IntegrityError(f"Backup {backup.id} is packed with {backup.codec}: only zstd can be packed again here.")
    return {backup.archives()[0].name: compress(content, _LEVEL)}


def member(content: bytes | bytearray, wanted: Callable[[tarfile.TarInfo], bool]) -> tarfile.TarInfo:
    """The first file in an archive that fits; it knows where its header and its bytes are."""
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return next(found for found in tar if found.isreg() and wanted(found))


def without(content: bytearray, found: tarfile.TarInfo) -> bytearray:
    """An archive without one of its files."""
    end = found.offset_data + -(-found.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    return content[: found.offset] + content[end:]


def manifest(repository: Repository, backup: Backup) -> bytes:
    """The manifest of a backup."""
    return repository.store.get(repository.layout.backup(backup.id, MANIFEST))


def manifest_with(content: bytes, path: str, body: bytes | None) -> bytes:
    """A manifest in which a file has other bytes, or is not mentioned; its own checksum fits.

    Args:
        content: The manifest.
        path: Of the file.
        body: Its bytes; None to leave it out.
    """
    document = json.loads(content)
    files = [each for each in document["Files"] if body is not None or each.get("Path") != path]
    for each in files:
        if each.get("Path") == path and body is not None:
            each |= {"Size": len(body), "Checksum": hashlib.sha256(body).hexdigest()}
    lines = ",\n".join(json.dumps(each) for each in files)
    head = {key: value for key, value in document.items() if key not in {"Files", "WAL-Ranges", "Manifest-Checksum"}}
    text = "{ " + json.dumps(head)[1:-1] + ',\n"Files": [\n' + lines + '],\n"WAL-Ranges": '
    text += json.dumps(document["WAL-Ranges"]) + ",\n"
    own = hashlib.sha256(text.encode()).hexdigest()
    return f'{text}"Manifest-Checksum": "{own}"}}\n'.encode()


def _stored(repository: Repository, key: str, name: str, content: bytes) -> StoredArchive:
    there = repository.store.head(key)
    if there is None or there.checksum is None:
        raise IntegrityError(f"{repository.store} does not say which checksum {key} has, so no record can be forged.")
    sha256 = hashlib.sha256(content).hexdigest()
    return StoredArchive(name=name, size=len(content), sha256=sha256, etag=there.etag, checksum=there.checksum)
