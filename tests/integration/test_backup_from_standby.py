"""A backup that is read from a standby: as good as the primary's; and where the standby will not do, the primary's."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from ops_workflows.backup.take import take_backup
from ops_workflows.errors import DatabaseError
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.postgres.processes import wait_until
from ops_workflows.postgres.server import DataDirectory
from ops_workflows.repository.backup import Backup
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.wal import segment_name
from ops_workflows.restore import run
from ops_workflows.restore.moment import AtLsn, AtTime, BackupEnd, Latest
from ops_workflows.settings import Settings
from tests.support.continuous import (
    Traffic,
    caught_up,
    commit_times,
    receiving,
    repository_of,
    rows_at,
    server_end,
    standby_of,
    values,
)
from tests.support.heard import Heard
from tests.support.servers import ScratchServer, free_port, reachable_folder, scratch_server

ROWS = 40
_PAGE = 8192  # of the log


@dataclass(frozen=True)
class Past:
    """A primary and its standby; a backup of the quiet database, and one taken while rows were written.

    Attributes:
        committed: When each row was committed.
        before: The rows that were there when the database was quiet.
        place: A place of the log behind both backups, with the rows that were there then.
    """

    primary: ScratchServer
    standby: ScratchServer
    settings: Settings
    repository: Repository
    quiet: Backup
    busy: Backup
    committed: dict[int, datetime]
    before: set[int]
    place: tuple[Lsn, set[int]]


@pytest.fixture(scope="module")
def past(settings: Settings) -> Iterator[Past]:
    configuration = {"track_commit_timestamp": "on", "autovacuum": "off", "checkpoint_timeout": "1d"}
    with scratch_server(**configuration) as primary, standby_of(primary) as standby:
        own = primary.settings(settings, wal_flush_seconds=0.2, standby_dsn=SecretStr(standby.dsn()))
        traffic = Traffic(primary.dsn("postgres"))
        traffic.prepare()
        with receiving(own, primary):
            with traffic.running():
                traffic.more(ROWS)
            before = traffic.ids()
            fall_silent(primary)
            replayed(standby, server_end(primary))
            quiet = take_backup(own)
            with traffic.running():
                traffic.more(ROWS)
                busy = take_backup(own)
                traffic.more(ROWS)
            with primary.connect() as connection:
                place = Lsn.parse(values(connection, "SELECT pg_current_wal_insert_lsn()::text")[0])
            there = traffic.ids()
            with traffic.running():
                traffic.more(ROWS)
            caught_up(primary)
        repository = repository_of(own, primary)
        yield Past(primary, standby, own, repository, quiet, busy, commit_times(primary), before, (place, there))


def fall_silent(server: ScratchServer) -> None:
    """Come to a checkpoint behind which nothing follows for some seconds.

    After a write, the server notes once which transactions run, and does so every 15 s at most.
    """
    notes = "SELECT count(*) FROM pg_get_wal_records_info(%s, pg_current_wal_flush_lsn()) "
    notes += "WHERE record_type = 'RUNNING_XACTS'"
    with server.connect() as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS pg_walinspect")
        connection.execute("CHECKPOINT")
        (since,) = connection.execute("SELECT redo_lsn FROM pg_control_checkpoint()").fetchone() or (None,)
        by_checkpoint = connection.execute(notes, [since]).fetchone()
        assert wait_until(lambda: connection.execute(notes, [since]).fetchone() != by_checkpoint, 40)
        connection.execute("CHECKPOINT")


def replayed(standby: ScratchServer, end: Lsn) -> None:
    query = f"SELECT pg_last_wal_replay_lsn() >= '{end}'"
    with standby.connect() as connection:
        assert wait_until(lambda: values(connection, query) == [True], 30)


@pytest.fixture
def folder() -> Iterator[Path]:
    with reachable_folder() as made:
        yield made / "data"


def to_own_end(past: Past, backup: Backup, folder: Path, heard: Heard) -> set[int]:
    return rows_at(past.settings, past.repository, BackupEnd(), folder, backup_id=backup.id, progress=heard)


def test_of_a_quiet_database_to_its_own_end(past: Past, folder: Path) -> None:
    """No record follows behind its end, at which PostgreSQL could stop."""
    assert past.quiet.from_standby
    heard = Heard()
    assert to_own_end(past, past.quiet, folder, heard) == past.before
    assert any(said.startswith("Nothing was committed after the backup's own end") for said in heard.sentences)


def test_of_a_busy_database_to_its_own_end(past: Past, folder: Path) -> None:
    assert past.busy.from_standby
    there = to_own_end(past, past.busy, folder, Heard())
    assert past.before < there < set(past.committed)
    assert there == set(range(1, max(there) + 1))


def test_that_breaks_off_before_it_is_consistent(past: Past, folder: Path) -> None:
    """That is not its end, though PostgreSQL says the same of both."""
    backup = past.busy
    restored = run.restore(past.settings, past.repository, run.plan(backup, folder))
    size = backup.wal_segment_bytes
    segment = folder / "pg_wal" / segment_name(backup.timeline, backup.stop_lsn, size)
    with segment.open("r+b") as file:
        page = backup.stop_lsn % size // _PAGE - 1
        file.seek(page * _PAGE)
        file.write(bytes(size - page * _PAGE))
    with (
        pytest.raises(DatabaseError, match="recovery ended before configured recovery target was reached"),
        run.running(past.settings, restored),
    ):
        pass
    assert not DataDirectory(folder).running_processes()


@pytest.mark.parametrize("which", ["quiet", "busy"])
def test_any_moment_after_it(past: Past, folder: Path, which: str) -> None:
    backup: Backup = getattr(past, which)
    after = sorted(number for number, at in past.committed.items() if at > backup.finished_at)
    at = past.committed[after[len(after) // 2]]
    there = rows_at(past.settings, past.repository, AtTime(at), folder, backup_id=backup.id)
    assert there == {number for number, committed in past.committed.items() if committed <= at}


@pytest.mark.parametrize("which", ["quiet", "busy"])
def test_a_place_after_it(past: Past, folder: Path, which: str) -> None:
    place, expected = past.place
    backup: Backup = getattr(past, which)
    assert rows_at(past.settings, past.repository, AtLsn(place), folder, backup_id=backup.id) == expected


def test_the_latest_moment(past: Past, folder: Path) -> None:
    assert rows_at(past.settings, past.repository, Latest(), folder) == set(past.committed)


def taken(past: Past, **more: object) -> tuple[Backup, str]:
    """A backup, and why it was read from the primary."""
    heard = Heard()
    backup = take_backup(past.settings.model_copy(update=more), heard)
    return backup, " ".join(said for said in heard.sentences if "is read from the primary" in said)


def test_of_a_standby_that_is_too_far_behind(past: Past) -> None:
    with past.standby.connect() as standby, past.primary.connect() as primary:
        standby.execute("SELECT pg_wal_replay_pause()")
        try:
            primary.execute("INSERT INTO traffic VALUES (0)")
            behind = "SELECT pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn() AND now() - interval '1 second' > "
            behind += "pg_last_xact_replay_timestamp()"
            assert wait_until(lambda: values(standby, behind) == [True], 30)
            backup, why = taken(past, standby_most_lag_seconds=1)
            assert not backup.from_standby
            assert "the standby is" in why
            assert "s behind" in why
            backup, why = taken(past, standby_most_lag_seconds=600)
            assert (backup.from_standby, why) == (True, "")
        finally:
            standby.execute("SELECT pg_wal_replay_resume()")
            primary.execute("DELETE FROM traffic WHERE id = 0")


def test_of_a_server_that_is_no_standby(past: Past) -> None:
    backup, why = taken(past, standby_dsn=SecretStr(past.primary.dsn()))
    assert not backup.from_standby
    assert why == "The backup is read from the primary, for the standby is none: it is not in recovery."


def test_of_a_standby_that_does_not_answer(past: Past) -> None:
    backup, why = taken(past, standby_dsn=SecretStr(past.standby.dsn(port=free_port())))
    assert not backup.from_standby
    assert "for the standby does not answer: " in why


def test_of_another_clusters_standby(past: Past) -> None:
    with scratch_server() as other, standby_of(other) as foreign:
        backup, why = taken(past, standby_dsn=SecretStr(foreign.dsn()))
    assert not backup.from_standby
    assert backup.system == past.primary.system
    assert why == "The backup is read from the primary, for the standby belongs to another cluster."
