"""What counts of the evidence in a repository where a clock was ahead, or an object is damaged."""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ops_workflows.postgres.lsn import Lsn
from ops_workflows.repository.backup import utc_now
from ops_workflows.repository.canaries import Canary, canaries, note
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.drills import DRILL, DrillRecord, drill_ids, past_drills, store_drill
from ops_workflows.repository.layout import Layout
from ops_workflows.repository.log_ledger import known_good, note_read, seen
from ops_workflows.repository.proofs import Proof, newest, read_ledger, record
from ops_workflows.repository.rungs import Rung
from ops_workflows.repository.wal import WalListing, segment_key
from ops_workflows.storage.folder import FolderStore
from tests.unit.test_drill_report import a_drill

BACKUP = "20260101T020000Z-0000"
SIZE = 1024 * 1024
HOUR, YEAR = timedelta(hours=1), timedelta(days=365)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(FolderStore(tmp_path), Layout("", "7"))


def shown(repository: Repository, at: datetime, *, passed: bool, stored: datetime | None = None) -> str:
    """An attempt of some time; its object is stored now, or at another moment."""
    record(repository, Proof(backup_id=BACKUP, what=Rung.SOUND, passed=passed, finding="", at=at, seconds=1))
    key = repository.layout.proof(BACKUP, at, Rung.SOUND)
    if stored is not None:
        touch(repository, key, stored)
    return key


def touch(repository: Repository, key: str, stored: datetime) -> None:
    """As if an object had been stored at that moment."""
    assert isinstance(repository.store, FolderStore)
    os.utime(repository.store.root / key, (stored.timestamp(), stored.timestamp()))


def passes(repository: Repository) -> bool | None:
    proof = newest(repository, [BACKUP])[BACKUP].get(Rung.SOUND)
    return proof.passed if proof else None


def test_a_pass_of_a_time_that_has_not_come_does_not_hide_a_failure(repository: Repository) -> None:
    key = shown(repository, utc_now() + YEAR, passed=True)
    assert passes(repository) is None
    shown(repository, utc_now(), passed=False)
    assert passes(repository) is False
    (why,) = read_ledger(repository, [BACKUP]).passed_over
    assert key in why
    assert "a clock was ahead" in why


def test_nor_does_it_once_its_time_has_come(repository: Repository) -> None:
    now = utc_now()
    shown(repository, now - HOUR, passed=True, stored=now - 3 * HOUR)
    shown(repository, now - 2 * HOUR, passed=False, stored=now - 2 * HOUR)
    assert passes(repository) is False


def test_clocks_may_differ_a_little(repository: Repository) -> None:
    shown(repository, utc_now() + timedelta(minutes=1), passed=False)
    assert passes(repository) is False


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "torn": lambda content: content[:40],
    "empty": lambda _: b"",
    "another backup's": lambda content: content.replace(b"20260101", b"20260102"),
    "of another time": lambda content: content.replace(b"2026-01-01T03", b"2026-01-01T04"),
    "of no zone": lambda content: content.replace(b'03:00:00Z"', b'03:00:00"'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_proof_was_not_shown_and_is_named(repository: Repository, damage: str) -> None:
    at = datetime(2026, 1, 1, 3, tzinfo=UTC)
    shown(repository, at - HOUR, passed=True)
    key = shown(repository, at, passed=True)
    content = repository.store.get(key)
    assert DAMAGES[damage](content) != content
    repository.store.put(key, DAMAGES[damage](content))
    assert passes(repository) is None
    (why,) = read_ledger(repository, [BACKUP]).passed_over
    assert f"{key} cannot be read" in why
    shown(repository, at + HOUR, passed=True)
    assert passes(repository) is True


def drilled(repository: Repository, at: datetime) -> DrillRecord:
    done = a_drill(id=f"{at:%Y%m%dT%H%M%SZ}-7c1e", at=at)
    store_drill(repository, done, "page")
    return done


def test_damaged_drills_and_those_of_the_future_are_passed_over_and_named(repository: Repository) -> None:
    now = utc_now()
    first, torn, another, last = (drilled(repository, now - hours * HOUR) for hours in (4, 3, 2, 1))
    future = drilled(repository, now + YEAR)
    repository.store.put(f"{repository.layout.drills}{torn.id}/{DRILL}", b"{")
    repository.store.put(f"{repository.layout.drills}{another.id}/{DRILL}", first.model_dump_json().encode())
    found = past_drills(repository)
    assert found.readable == (first, last)
    assert set(found.passed_over) == {torn.id, another.id, future.id}
    assert f"{torn.id}/{DRILL} cannot be read" in found.passed_over[torn.id]
    assert past_drills(repository, 1).readable == (last,)
    assert len(drill_ids(repository)) == 5


def test_log_that_will_have_been_read_was_not(repository: Repository) -> None:
    prefix = repository.layout.wal
    repository.store.put(prefix + segment_key(1, 3 * SIZE, SIZE), b"segment")
    (piece,) = WalListing.of(repository.store.objects(prefix), prefix, SIZE).pieces
    note_read(repository, [piece], utc_now() + YEAR, (1, piece.end))
    assert known_good(repository, seen(repository), utc_now() - HOUR) == {}
    note_read(repository, [piece], utc_now(), (1, piece.end))
    assert known_good(repository, seen(repository), utc_now() - HOUR) == {piece.key: piece.etag}


def test_a_canary_of_a_time_that_has_not_come_is_none(repository: Repository) -> None:
    now = utc_now()
    for moment in (now, now + 2 * HOUR):
        note(repository, Canary(moment, moment, 1, Lsn(100), f"{0:016x}"))
    assert [canary.after for canary in canaries(repository)] == [now]
