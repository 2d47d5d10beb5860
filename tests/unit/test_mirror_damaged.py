"""A mirror of which one record is damaged, on this side or that: the rest is copied, that is said, and nothing goes."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ops_workflows.backup.mirror import mirror
from ops_workflows.errors import IntegrityError
from ops_workflows.repository.backup import StoredArchive
from ops_workflows.repository.catalogue import Repository, open_repository
from ops_workflows.repository.layout import RECORD
from ops_workflows.repository.records import sealed
from ops_workflows.settings import Settings
from ops_workflows.storage.upload import Upload
from tests.support.bucket import change
from tests.support.heard import Heard
from tests.support.records import backup

SYSTEM = "7711281658445912347"
NOW = datetime.now(UTC)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Two folders."""
    monkeypatch.chdir(tmp_path)
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    places = {"repository_url": (tmp_path / "first").as_uri(), "mirror_url": (tmp_path / "second").as_uri()}
    return Settings.read(tmp_path).model_copy(update=places)


@pytest.fixture
def first(own: Settings) -> Repository:
    return open_repository(own, SYSTEM)


@pytest.fixture
def second(own: Settings) -> Repository:
    mirrored = own.mirrored()
    assert mirrored is not None
    return open_repository(mirrored, SYSTEM)


def taken(repository: Repository, days_ago: int, parent: str | None = None) -> str:
    """A backup that nobody opens; its id."""
    finished = NOW - timedelta(days=days_ago)
    backup_id = f"{finished:%Y%m%dT%H%M%SZ}-0000"
    with Upload(repository.store, repository.layout.backup(backup_id, "base.tar.zst"), threads=1) as upload:
        upload.write(backup_id.encode())
        done = upload.finish()
    stored = StoredArchive(
        name="base.tar.zst", size=done.size, sha256=done.sha256, etag=done.etag, checksum=done.checksum
    )
    made = backup(id=backup_id, parent=parent, finished_at=finished, objects=(stored,))
    repository.store.put(repository.layout.backup(backup_id, RECORD), sealed(made))
    return backup_id


def damage(repository: Repository, backup_id: str) -> str:
    """Cut its record short; what is said of it from then on."""
    key = repository.layout.backup(backup_id, RECORD)
    change(repository, key, lambda content: content[:200])
    return f"Backup {backup_id} cannot be used: {key} cannot be read"


def keys(repository: Repository) -> set[str]:
    return {found.key for found in repository.store.objects("")}


@pytest.mark.parametrize("where", ["first", "second"])
def test_all_else_is_copied_and_nothing_is_let_go(
    own: Settings, first: Repository, second: Repository, where: str
) -> None:
    old = [taken(first, days) for days in (9, 8, 7)]
    mirror(own)
    before = keys(second)
    assert len(before) == 6
    said = damage(first if where == "first" else second, old[1])
    new = taken(first, 1)
    strict = own.model_copy(update={"mirror_keep_daily": 1, "mirror_keep_weekly": 0, "mirror_keep_monthly": 0})
    with pytest.raises(IntegrityError, match=f"all else was copied: {said}"):
        mirror(strict)
    assert keys(second) == before | {second.layout.backup(new, name) for name in (RECORD, "base.tar.zst")}
    assert [each.id for each in second.catalogue().readable] == [
        each for each in (*old, new) if where == "first" or each != old[1]
    ]
    with pytest.raises(IntegrityError, match=f"all else would be: {said}"):
        mirror(strict, apply=False)


def test_a_damaged_parent_makes_no_chain_in_the_second_look_whole(
    own: Settings, first: Repository, second: Repository
) -> None:
    full = taken(first, 3)
    child = taken(first, 2, full)
    alone = taken(first, 1)
    said, heard = damage(first, full), Heard()
    with pytest.raises(IntegrityError, match=said):
        mirror(own, heard)
    assert [each.id for each in second.backups()] == [alone]
    assert not any(f"/{lost}/" in key for key in keys(second) for lost in (full, child))
    assert f"Backup {child} is not mirrored: what it builds on is in neither repository." in heard.sentences
