"""Objects copied between two places: in the parts of the original where they are known, and verified in any case."""

import os
from pathlib import Path

import pytest

from ops_workflows.backup import mirror_copy
from ops_workflows.backup.mirror_copy import Copier
from ops_workflows.errors import IntegrityError
from ops_workflows.repository.backup import StoredArchive
from ops_workflows.storage.folder import FolderStore
from ops_workflows.storage.parts import MiB, cut, former_sizes, part_sizes
from ops_workflows.storage.upload import Upload

NAME = "base.tar.zst"


@pytest.fixture
def copier(tmp_path: Path) -> Copier:
    """From one folder to another whose checksums are trusted, as a bucket's are."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    stores = [FolderStore(tmp_path / name) for name in ("first", "second")]
    return Copier(*stores, "a/", "b/", threads=2, read_back=False)


def sent(copier: Copier, size: int, parts: tuple[int, ...]) -> StoredArchive:
    """An object of the first place that was sent in these parts."""
    with Upload(copier.source, f"a/{NAME}", threads=2, sizes=parts) as upload:
        upload.write(os.urandom(size))
        done = upload.finish()
    return StoredArchive(name=NAME, size=size, sha256=done.sha256, etag=done.etag, checksum=done.checksum)


def copied_checksum(copier: Copier, stored: StoredArchive) -> str | None:
    assert copier.archive(NAME, stored)
    assert copier.source.get(f"a/{NAME}") == copier.target.get(f"b/{NAME}")
    found = copier.target.head(f"b/{NAME}")
    return found.checksum if found else None


@pytest.mark.parametrize("size", [0, 1, 8 * MiB, 26 * MiB - 1])
@pytest.mark.parametrize("of", ["now", "former"])
def test_the_copy_has_the_checksum_of_the_original(copier: Copier, size: int, of: str) -> None:
    stored = sent(copier, size, cut(size, part_sizes(10**12) if of == "now" else former_sizes(13 * MiB)))
    assert copied_checksum(copier, stored) == stored.checksum
    assert not copier.archive(NAME, stored)  # it is there, by its checksum
    assert (copier.verified.by_checksum, copier.verified.by_reading) == (2, 0)


def test_the_ways_in_which_it_may_have_been_sent_are_tried_one_after_the_other(
    copier: Copier, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = [tuple(part * MiB for part in way) for way in ((10, 10), (9, 11), (12, 8))]
    monkeypatch.setattr(mirror_copy, "ways", lambda *_: iter(ways))
    stored = sent(copier, 20 * MiB, ways[-1])
    assert copied_checksum(copier, stored) == stored.checksum
    assert list(copier.target.pending_uploads("")) == []


def test_where_none_fits_it_is_copied_and_verified_all_the_same(copier: Copier) -> None:
    """A former object whose parts were far larger than it: three of 13 MiB, or of 9, who knows."""
    size = 26 * MiB + 1
    stored = sent(copier, size, cut(size, former_sizes(13 * MiB)))
    assert copied_checksum(copier, stored) != stored.checksum
    assert not copier.archive(NAME, stored)  # it is there: it was read
    assert (copier.verified.by_checksum, copier.verified.by_reading) == (1, 1)


def test_what_is_damaged_does_not_arrive(copier: Copier) -> None:
    stored = sent(copier, 20 * MiB, cut(20 * MiB, part_sizes(0)))
    content = copier.source.get(f"a/{NAME}")
    copier.source.put(f"a/{NAME}", content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(IntegrityError, match="is altered"):
        copier.archive(NAME, stored)
    assert copier.target.head(f"b/{NAME}") is None
    assert list(copier.target.pending_uploads("")) == []
