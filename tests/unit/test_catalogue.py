"""The catalogue when a record is damaged: it is said of that one, and the others stay what they are."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_workflows.backup.debris import sweep_debris
from ops_workflows.errors import IntegrityError, RefusedError, StorageError
from ops_workflows.repository.backup import Backup
from ops_workflows.repository.catalogue import Repository, sweep, unusable
from ops_workflows.repository.dump import Dump
from ops_workflows.repository.dumps import Dumps
from ops_workflows.repository.layout import RECORD, Layout
from ops_workflows.repository.records import read_record, seal, sealed
from ops_workflows.repository.retention_facts import read_holdings, read_readable
from ops_workflows.storage.folder import FolderStore
from tests.support.records import MOMENT, backup

NOW = datetime(2026, 3, 31, tzinfo=UTC)
CHAIN = ("20260101T020000Z-0000", "20260102T020000Z-0000", "20260103T020000Z-0000")
ALONE = "20260104T020000Z-0000"
DAMAGES = {
    "torn": lambda content: content[:200],
    "empty": lambda _: b"",
    "zeros": lambda content: bytes(len(content)),
    "altered": lambda content: content.replace(b'"timeline": 1', b'"timeline": 2'),
    "newer": lambda content: written_anew(content, b'"format": 1', b'"format": 2'),
    "another's": lambda content: written_anew(content, b'"id": "2026', b'"id": "2025'),
}
Damage = Callable[[bytes], bytes]


class Folder(FolderStore):
    """A folder with an object that cannot be had, as in a bucket one that was moved into an archive, or is deleted."""

    archived = ""
    deleted = ""

    def get(self, key: str) -> bytes:
        if key == self.archived:
            raise StorageError(f"Cannot read {key}: it is in an archive.")
        if key == self.deleted:
            self.delete([key])  # by somebody else, since it was listed
        return super().get(key)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A chain of three, and one that stands alone; two dumps."""
    made = Repository(Folder(tmp_path), Layout("", "7711281658445912347"))
    for number, backup_id in enumerate((*CHAIN, ALONE)):
        parent = CHAIN[number - 1] if 0 < number < len(CHAIN) else None
        taken = backup(id=backup_id, parent=parent, finished_at=MOMENT + timedelta(days=number), objects=())
        put(made, made.layout.backup(backup_id, RECORD), taken)
        made.store.put(made.layout.backup(backup_id, "base.tar.zst"), b"content")
        dump = Dump(
            id=backup_id,
            system=made.layout.system,
            started_at=MOMENT,
            finished_at=MOMENT + timedelta(days=number, minutes=1),
            server_version=180006,
            programs_major=18,
            databases=(),
            objects=(),
        )
        if parent is None:
            put(made, Dumps(made).key(backup_id, "dump.json"), dump)
            made.store.put(Dumps(made).key(backup_id, "globals.sql"), b"content")
    return made


def put(repository: Repository, key: str, record: Backup | Dump) -> None:
    repository.store.put(key, sealed(record))


def written_anew(content: bytes, old: bytes, new: bytes) -> bytes:
    """Another record, and whole as such."""
    body = content.partition(b',\n  "digest"')[0]
    assert old in body
    return seal(body.replace(old, new) + b"\n}")


def damage(repository: Repository, key: str, how: Damage = DAMAGES["torn"]) -> None:
    repository.store.put(key, how(repository.store.get(key)))


@given(st.data())
def test_not_one_bit_of_a_record_can_change_unseen(data: st.DataObject) -> None:
    whole = sealed(backup())
    at, bit = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 7))
    changed = whole[:at] + bytes([whole[at] ^ (1 << bit)]) + whole[at + 1 :]
    with TemporaryDirectory() as folder:
        store, key = FolderStore(Path(folder)), f"backups/{backup().id}/{RECORD}"
        store.put(key, whole)
        assert read_record(Backup, store, key) == backup()
        store.put(key, changed)
        with pytest.raises(IntegrityError, match=RECORD):
            read_record(Backup, store, key)


def ids(backups: list[Backup]) -> list[str]:
    return [each.id for each in backups]


@pytest.mark.parametrize("how", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_record_is_told_apart_and_the_others_are_read(repository: Repository, how: Damage) -> None:
    key = repository.layout.backup(ALONE, RECORD)
    damage(repository, key, how)
    known = repository.catalogue()
    assert ids(list(known.readable)) == list(CHAIN)
    assert known.damaged.keys() == {ALONE}
    assert known.damaged[ALONE].startswith(f"Backup {ALONE} cannot be used: {key} ")
    assert "back" in known.damaged[ALONE]  # it says what to do
    assert ids(repository.backups()) == list(CHAIN)
    assert repository.find("latest").id == CHAIN[-1]
    with pytest.raises(IntegrityError) as refused:
        repository.find(ALONE)
    assert str(refused.value) == known.damaged[ALONE]


def test_a_damaged_record_makes_no_chain_look_whole(repository: Repository) -> None:
    full, middle, last = CHAIN
    damage(repository, repository.layout.backup(full, RECORD))
    known = repository.catalogue()
    assert ids(list(known.readable)) == [middle, last, ALONE]
    assert ids(repository.backups()) == [ALONE]
    assert unusable(known) == {
        **known.damaged,
        middle: f"Backup {middle} cannot be used: it builds on {full}.",
        last: f"Backup {last} cannot be used: it builds on {middle}.",
    }
    child = repository.find(last)
    with pytest.raises(IntegrityError, match=f"Backup {middle} is incremental to {full}. Backup {full} cannot be used"):
        repository.chain(child)


def test_where_nothing_can_be_used_that_is_said_and_not_that_there_is_nothing(repository: Repository) -> None:
    for backup_id in (CHAIN[0], ALONE):
        damage(repository, repository.layout.backup(backup_id, RECORD))
    for attempt in (repository.backups, lambda: repository.find("latest")):
        with pytest.raises(IntegrityError, match=f"Backup {CHAIN[0]} cannot be used.*Backup {ALONE} cannot be used"):
            attempt()
    with pytest.raises(RefusedError, match="There is no backup 20200101T000000Z-0000"):
        repository.find("20200101T000000Z-0000")


def test_an_object_that_cannot_be_had_is_damaged_too_and_one_let_go_meanwhile_is_not(repository: Repository) -> None:
    assert isinstance(repository.store, Folder)
    key = repository.layout.backup(ALONE, RECORD)
    repository.store.archived = key
    assert "it is in an archive" in repository.catalogue().damaged[ALONE]
    repository.store.archived, repository.store.deleted = "", key
    known = repository.catalogue()
    assert (ids(list(known.readable)), known.damaged) == (list(CHAIN), {})


def test_the_objects_of_a_damaged_backup_or_dump_are_no_debris(repository: Repository) -> None:
    keys = [repository.layout.backup(ALONE, RECORD), Dumps(repository).key(ALONE, "dump.json")]
    for key in keys:
        damage(repository, key, DAMAGES["empty"])
    before = [found.key for found in repository.store.objects("")]
    assert sweep(repository) == []
    assert Dumps(repository).sweep() == []
    assert sweep_debris(repository, datetime.now(UTC) + timedelta(days=1), 0) == []
    assert [found.key for found in repository.store.objects("")] == before


@pytest.mark.parametrize("dumps", [True, False])
def test_of_whatever_was_killed_the_upload_is_debris(repository: Repository, *, dumps: bool) -> None:
    """In a folder each object is one first, of the log and of the records too; a dump may be under way."""
    layout = repository.layout
    before = [found.key for found in repository.store.objects("")]
    left = [f"{layout.root}{what}/x" for what in ("canaries", "drills", "proofs", "restores", "wal", "wal/00000001")]
    dump = Dumps(repository).key("20260101T000000Z-dead", "globals.sql")
    for key in (*left, dump, "ops/another/wal/x"):
        repository.store.begin_upload(key)
    now = datetime.now(UTC)
    assert sweep_debris(repository, now, 1) == []
    said = sweep_debris(repository, now + timedelta(days=1), 1, dumps=dumps)
    gone = [*left, dump] if dumps else left
    assert {sentence.partition(",")[0] for sentence in said} == {
        f"Aborted the orphaned upload of {key}" for key in gone
    }
    spared = [] if dumps else [dump]
    assert [found.key for found in repository.store.pending_uploads("")] == [*spared, "ops/another/wal/x"]
    assert [found.key for found in repository.store.objects("")] == before


def test_dumps_likewise(repository: Repository) -> None:
    dumps = Dumps(repository)
    key = dumps.key(ALONE, "dump.json")
    damage(repository, key)
    assert dumps.catalogue().damaged[ALONE].startswith(f"Dump {ALONE} cannot be used: {key} cannot be read")
    assert [dump.id for dump in dumps.all()] == [CHAIN[0]]
    assert dumps.find("latest").id == CHAIN[0]
    for asked in ((ALONE, None), ("latest", "shop")):  # the one that has that database may be the damaged one
        with pytest.raises(IntegrityError, match=f"Dump {ALONE} cannot be used"):
            dumps.find(*asked)
    damage(repository, dumps.key(CHAIN[0], "dump.json"))
    with pytest.raises(IntegrityError, match=f"Dump {CHAIN[0]} cannot be used.*Dump {ALONE} cannot be used"):
        dumps.all()


@pytest.mark.parametrize("what", ["backup", "dump"])
def test_whoever_deletes_must_know_of_every_record_and_whoever_copies_need_not(
    repository: Repository, what: str
) -> None:
    key = repository.layout.backup(ALONE, RECORD) if what == "backup" else Dumps(repository).key(ALONE, "dump.json")
    whole, said = read_readable(repository, NOW)
    assert (whole, said) == (read_holdings(repository, NOW), ())
    damage(repository, key)
    with pytest.raises(IntegrityError, match=f"{what.title()} {ALONE} cannot be used"):
        read_holdings(repository, NOW)
    held, (sentence,) = read_readable(repository, NOW)
    assert f"{what.title()} {ALONE} cannot be used" in sentence
    assert ids(list(held.backups)) == ([*CHAIN] if what == "backup" else [*CHAIN, ALONE])
    assert [dump.id for dump in held.dumps] == ([CHAIN[0]] if what == "dump" else [CHAIN[0], ALONE])
