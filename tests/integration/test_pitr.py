"""Any moment comes back exactly: across an incremental chain and a promotion, while rows are being written."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from ops_workflows.backup.policy import Kind
from ops_workflows.backup.take import take_backup
from ops_workflows.errors import RefusedError
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.postgres.processes import wait_until
from ops_workflows.postgres.server import DataDirectory
from ops_workflows.repository.backup import Backup
from ops_workflows.repository.catalogue import Repository
from ops_workflows.restore.moment import AtLsn, AtName, AtTime, Latest
from ops_workflows.settings import Settings
from tests.support.command import ops_here
from tests.support.continuous import (
    Traffic,
    caught_up,
    commit_times,
    either,
    promote,
    receiving,
    recovered,
    repository_of,
    rows_at,
    standby_of,
    values,
    wal_listing,
)
from tests.support.heard import Heard
from tests.support.servers import reachable_folder, scratch_server

MOMENTS = 10
ROWS = 120  # between two backups


@dataclass
class Past:
    """A database with a history: three backups, each incremental to the one before, a promotion, a full backup.

    Attributes:
        committed: When each row was committed.
        places: Places of the log, each with the rows that were there then.
        names: Restore points, likewise.
    """

    settings: Settings
    repository: Repository
    backups: list[Backup]
    committed: dict[int, datetime]
    places: dict[Lsn, set[int]]
    names: dict[str, set[int]]
    all_rows: set[int]


@pytest.fixture(scope="module")
def past(settings: Settings) -> Iterator[Past]:
    configuration = {"summarize_wal": "on", "track_commit_timestamp": "on", "max_replication_slots": "10"}
    with scratch_server(**configuration) as primary, standby_of(primary) as standby:
        dsn = either(primary, standby)
        own = primary.settings(settings, wal_flush_seconds=0.2, backup_dsn=SecretStr(dsn))
        repository = repository_of(own, primary)
        places: dict[Lsn, set[int]] = {}
        names: dict[str, set[int]] = {}
        backups = []
        traffic = Traffic(primary.dsn("postgres", host="127.0.0.1,127.0.0.1", port=ports(primary, standby), **WRITABLE))
        traffic.prepare()

        def mark(name: str) -> None:
            """Between two stretches of traffic: what is there now."""
            now = standby if standby_leads else primary
            with now.connect() as connection:
                there = set(values(connection, "SELECT id FROM traffic"))
                place = values(connection, "SELECT pg_current_wal_insert_lsn()::text")[0]
                connection.execute("SELECT pg_create_restore_point(%s)", [name])
            places[Lsn.parse(place)] = names[name] = there

        standby_leads = False
        with receiving(own, primary):
            for kind in (Kind.FULL, Kind.INCREMENTAL, Kind.INCREMENTAL):
                with traffic.running():
                    traffic.more(ROWS // 2)
                    backups.append(take_backup(own, kind=kind))
                    traffic.more(ROWS)
                mark(f"after {len(backups)}")
            caught_up(primary)
            with primary.connect() as connection:
                end = values(connection, "SELECT pg_current_wal_flush_lsn()::text")[0]
            with standby.connect() as connection:
                replayed = f"SELECT pg_last_wal_replay_lsn() >= '{end}'"
                assert wait_until(lambda: values(connection, replayed) == [True], 30)
            primary.server.stop("immediate")
            promote(standby)
            standby_leads = True
            with traffic.running():
                traffic.more(ROWS)
            mark("promoted")
            with traffic.running():
                traffic.more(ROWS)
                backups.append(take_backup(own, kind=Kind.FULL))
                traffic.more(ROWS)
            caught_up(standby)
            last = max(commit_times(standby).values())
            assert wait_until(lambda: datetime.now(UTC) > last + timedelta(seconds=1), 5)
            with standby.connect() as connection:
                connection.execute("CHECKPOINT")  # no commit, and yet something to send
            caught_up(standby)
            committed = commit_times(standby)
        yield Past(own, repository, backups, committed, places, names, traffic.ids())


WRITABLE = {"target_session_attrs": "read-write"}


def ports(*servers: object) -> str:
    return ",".join(str(server.server.port) for server in servers)  # type: ignore[attr-defined]


@pytest.fixture
def folder() -> Iterator[Path]:
    with reachable_folder() as made:
        yield made / "data"


def test_the_history_is_the_one_that_these_tests_are_about(past: Past) -> None:
    assert [backup.parent for backup in past.backups[:3]] == [None, past.backups[0].id, past.backups[1].id]
    assert [backup.timeline for backup in past.backups] == [1, 1, 1, 2]
    listing = wal_listing(past.repository)
    assert [found.timeline for found in listing.ranges()] == [1, 2]
    assert listing.histories == {2}


def test_ten_moments_of_chance(past: Past) -> None:
    """The row that was committed at the moment is there, and the one after it is not."""
    chance = random.Random(3)
    reachable = sorted(number for number, at in past.committed.items() if at > past.backups[0].finished_at)
    for number in chance.sample(reachable[:-1], MOMENTS):
        at = past.committed[number]
        expected = {row for row, committed in past.committed.items() if committed <= at}
        assert number in expected
        with reachable_folder() as folder:
            assert rows_at(past.settings, past.repository, AtTime(at), folder / "data") == expected, at


def test_just_before_a_row(past: Past, folder: Path) -> None:
    number = sorted(past.committed)[-ROWS // 2]
    at = past.committed[number] - timedelta(microseconds=1)
    there = rows_at(past.settings, past.repository, AtTime(at), folder)
    assert number not in there
    assert there == {row for row, committed in past.committed.items() if committed <= at}


@pytest.mark.parametrize("which", [0, 2, 3])
def test_at_a_place_of_the_log(past: Past, folder: Path, which: int) -> None:
    lsn = sorted(past.places)[which]
    assert rows_at(past.settings, past.repository, AtLsn(lsn), folder) == past.places[lsn]


@pytest.mark.parametrize("name", ["after 2", "promoted"])
def test_at_a_restore_point(past: Past, folder: Path, name: str) -> None:
    assert rows_at(past.settings, past.repository, AtName(name), folder) == past.names[name]


def test_at_a_restore_point_that_never_was(past: Past, folder: Path) -> None:
    with pytest.raises(RefusedError, match="restore point nowhere is not in the WAL between"):
        rows_at(past.settings, past.repository, AtName("nowhere"), folder)


@pytest.mark.parametrize("which", [0, 2, 3])
def test_latest_from_any_backup(past: Past, folder: Path, which: int) -> None:
    """From before the promotion as from after it."""
    backup_id = past.backups[which].id
    assert rows_at(past.settings, past.repository, Latest(), folder, backup_id=backup_id) == past.all_rows


def test_a_moment_without_a_commit_after_it(past: Past, folder: Path) -> None:
    heard = Heard()
    there = rows_at(past.settings, past.repository, AtTime(whole_until(past)), folder, progress=heard)
    assert there == past.all_rows
    assert any("Nothing was committed after" in said for said in heard.sentences)


def whole_until(past: Past) -> datetime:
    """Until when the log in the bucket is known to be whole."""
    return max(piece.all_until for piece in wal_listing(past.repository).pieces if piece.all_until)


@pytest.mark.parametrize("moment", ["time", "place", "name"])
def test_stays_readable_and_is_promoted_later(past: Past, folder: Path, moment: str) -> None:
    """Before the promotion that the bucket knows of, and after it."""
    number = sorted(past.committed)[2 * ROWS]
    at = past.committed[number]
    before = {row for row, committed in past.committed.items() if committed <= at}
    lsn = sorted(past.places)[1]
    target, expected = {
        "time": (AtTime(at), before),
        "place": (AtLsn(lsn), past.places[lsn]),
        "name": (AtName("promoted"), past.names["promoted"]),
    }[moment]
    repository, settings = past.repository, past.settings
    first = past.backups[0].id
    with recovered(settings, repository, target, folder, stay=True, backup_id=first) as connection:
        # At once: not merely readable, but there.
        assert set(values(connection, "SELECT id FROM traffic")) == expected
        assert values(connection, "SELECT pg_is_in_recovery()") == [True]
        assert values(connection, "SELECT pg_get_wal_replay_pause_state()") == ["paused"]
        assert values(connection, "SELECT pg_promote()") == [True]
        connection.execute("INSERT INTO traffic VALUES (0)")


def test_there_is_nothing_to_stay_before(past: Past, folder: Path) -> None:
    with pytest.raises(RefusedError, match="omit --stay"):
        rows_at(past.settings, past.repository, Latest(), folder, stay=True)
    assert not folder.exists()
    with pytest.raises(RefusedError, match=r"Nothing was committed after .* omit --stay"):
        rows_at(past.settings, past.repository, AtTime(whole_until(past)), folder, stay=True)
    assert not DataDirectory(folder).running_processes()


def test_outside_the_window_is_refused_with_the_window(past: Past, folder: Path) -> None:
    for moment in (past.backups[0].started_at - timedelta(hours=1), datetime.now(UTC) + timedelta(hours=1)):
        done = ops_here(past.settings, folder.parent, "restore", "--to", moment.isoformat(), "--target-dir", folder)
        assert done.code != 0
        assert "cannot be reached. The window is" in done.sentence
        assert f"{past.backups[0].finished_at:%Y-%m-%d %H:%M:%S} to " in done.sentence
        assert not folder.exists()


@contextmanager
def copied(past: Past, *, metadata: bool) -> Iterator[None]:
    """For the length of a `with`, the log was copied just now, by a tool that may leave behind what is not bytes."""
    store = past.repository.store
    kept = {piece.key: store.head(piece.key) for piece in wal_listing(past.repository).pieces}
    for key, found in kept.items():
        assert found is not None
        store.put(key, store.get(key), metadata=found.metadata if metadata else {})
    try:
        yield
    finally:
        for key, found in kept.items():
            assert found is not None
            store.put(key, store.get(key), metadata=found.metadata)


@pytest.mark.parametrize("metadata", [True, False], ids=["with what it says", "bytes alone"])
def test_what_is_stored_later_says_no_more_than_before(past: Past, folder: Path, metadata: bool) -> None:
    """An object that came late, or is a copy: when it was stored is no promise, and replay has to show the moment."""
    before, last = whole_until(past), max(past.committed.values())
    at = sorted(past.committed.values())[-ROWS // 2]
    with copied(past, metadata=metadata):
        known = [piece.all_until for piece in wal_listing(past.repository).pieces if piece.all_until]
        assert max(known, default=None) == (before if metadata else None)
        there = rows_at(past.settings, past.repository, AtTime(at), folder)
        assert there == {row for row, committed in past.committed.items() if committed <= at}
        with (
            reachable_folder() as other,
            pytest.raises(RefusedError, match="cannot be reached: the WAL ends at") as said,
        ):
            rows_at(past.settings, past.repository, AtTime(before + timedelta(seconds=1)), other / "data")
        assert f"to {before if metadata else past.backups[-1].finished_at:%Y-%m-%d %H:%M:%S} UTC" in str(said.value)
        assert not DataDirectory(other / "data").running_processes()
        assert last < before


@pytest.mark.parametrize("text", ["2026-01-31 02:00:00", "yesterday", "", "name:"])
def test_no_moment_at_all(past: Past, folder: Path, text: str) -> None:
    done = ops_here(past.settings, folder.parent, "restore", f"--to={text or ' '}", "--target-dir", folder)
    assert done.code != 0
    assert not folder.exists()
