"""Incremental backups: the chain gives back what the source had; a link that is gone or damaged stops it, by name."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ops_workflows.backup.policy import Kind
from ops_workflows.backup.take import take_backup
from ops_workflows.errors import IntegrityError
from ops_workflows.postgres.account import hand_over
from ops_workflows.postgres.processes import wait_until
from ops_workflows.repository.backup import Backup
from ops_workflows.restore.moment import BackupEnd
from ops_workflows.settings import Settings
from tests.support.bucket import change, flipped, put_back
from tests.support.continuous import repository_of, rows_at, values
from tests.support.heard import Heard
from tests.support.servers import ScratchServer, fill_with_noise, reachable_folder, scratch_server

LINKS = 3


@pytest.fixture(scope="module")
def server(stack: object) -> Iterator[ScratchServer]:
    with scratch_server(summarize_wal="on") as made:
        fill_with_noise(made, 8)
        with made.connect() as connection:
            connection.execute("CREATE TABLE traffic (id bigint PRIMARY KEY, filler text)")
        yield made


@pytest.fixture(scope="module")
def own(server: ScratchServer, settings: Settings) -> Settings:
    return server.settings(settings)


@pytest.fixture(scope="module")
def chain(server: ScratchServer, own: Settings) -> list[tuple[Backup, set[int]]]:
    """Three links, each with the rows that were there; between them rows come, go, and a table is emptied."""
    made = []
    with server.connect() as connection:
        for number in range(LINKS):
            connection.execute("DELETE FROM traffic WHERE id %% 7 = %s", [number])
            connection.execute(
                "INSERT INTO traffic SELECT n, repeat(md5(n::text), 3) FROM generate_series(%s::int, %s::int) AS n",
                [number * 1000, number * 1000 + 999],
            )
            backup = take_backup(own, kind=Kind.INCREMENTAL if number else Kind.FULL)
            made.append((backup, set(values(connection, "SELECT id FROM traffic"))))
    return made


@pytest.fixture
def folder() -> Iterator[Path]:
    with reachable_folder() as made:
        yield made / "data"


def test_each_link_gives_back_what_was_there(
    server: ScratchServer, own: Settings, chain: list[tuple[Backup, set[int]]]
) -> None:
    repository = repository_of(own, server)
    full, *incremental = [backup for backup, _ in chain]
    assert [backup.parent for backup in incremental] == [full.id, incremental[0].id]
    assert all(backup.stored_bytes < full.stored_bytes / 4 for backup in incremental)
    for backup, rows in chain:
        with reachable_folder() as folder:
            there = rows_at(own, repository, BackupEnd(), folder / "data", backup_id=backup.id)
        assert there == rows, backup.id


@pytest.mark.parametrize("link", [0, 1])
def test_a_link_that_is_gone(
    server: ScratchServer, own: Settings, chain: list[tuple[Backup, set[int]]], folder: Path, link: int
) -> None:
    repository = repository_of(own, server)
    gone, last = chain[link][0], chain[-1][0]
    key = repository.layout.backup(gone.id, "backup.json")
    record = repository.store.get(key)
    repository.store.delete([key])
    try:
        with pytest.raises(IntegrityError, match=f"is incremental to {gone.id}, which is not in"):
            rows_at(own, repository, BackupEnd(), folder, backup_id=last.id)
        assert not folder.exists()
    finally:
        put_back(repository, key, record)


@pytest.mark.parametrize("which", [(0, "base"), (1, "base"), (2, "base"), (1, "backup_manifest")])
def test_a_link_that_is_altered(
    server: ScratchServer, own: Settings, chain: list[tuple[Backup, set[int]]], folder: Path, which: tuple[int, str]
) -> None:
    """Its own check finds it before anything is put together, and nothing is left that could be started."""
    link, name = which
    repository = repository_of(own, server)
    damaged, last = chain[link][0], chain[-1][0]
    stored = next(each for each in damaged.objects if each.name.startswith(name))
    key = repository.layout.backup(damaged.id, stored.name)
    whole = repository.store.get(key)
    change(repository, key, flipped)
    try:
        with pytest.raises(IntegrityError, match=f"{damaged.id}/{stored.name}"):
            rows_at(own, repository, BackupEnd(), folder, backup_id=last.id)
        assert not (folder / "global/pg_control").exists()
    finally:
        put_back(repository, key, whole)


def test_full_when_the_server_keeps_no_summaries(server: ScratchServer, settings: Settings) -> None:
    own = server.settings(settings, backup_count_rows=False)
    take_backup(own)
    with server.connect() as connection:
        connection.execute("ALTER SYSTEM SET summarize_wal = off")
        connection.execute("SELECT pg_reload_conf()")
        assert wait_until(lambda: values(connection, "SHOW summarize_wal") == ["off"], 10)
        heard = Heard()
        try:
            assert take_backup(own, heard, Kind.INCREMENTAL).parent is None
        finally:
            connection.execute("ALTER SYSTEM RESET summarize_wal")
            connection.execute("SELECT pg_reload_conf()")
            assert wait_until(lambda: values(connection, "SHOW summarize_wal") == ["on"], 10)
    assert any("This backup is full: summarize_wal is off" in said for said in heard.sentences)


def test_full_when_there_is_nothing_to_build_on(server: ScratchServer, settings: Settings) -> None:
    own = server.settings(settings, backup_count_rows=False)
    heard = Heard()
    assert take_backup(own, heard, Kind.INCREMENTAL).parent is None
    assert any("This backup is full: there is no backup of timeline 1 yet." in said for said in heard.sentences)


def test_full_when_a_parent_was_deleted(server: ScratchServer, settings: Settings) -> None:
    own = server.settings(settings, backup_count_rows=False)
    first = take_backup(own)
    second = take_backup(own, kind=Kind.INCREMENTAL)
    assert second.parent == first.id
    repository = repository_of(own, server)
    repository.store.delete([repository.layout.backup(first.id, "backup.json")])
    heard = Heard()
    assert take_backup(own, heard, Kind.INCREMENTAL).parent is None
    assert any(f"This backup is full: a backup that {second.id} builds on is gone." in said for said in heard.sentences)


def test_full_when_the_server_no_longer_has_the_summaries(server: ScratchServer, settings: Settings) -> None:
    """The parent is from before: the server refuses, which is known before anything was stored."""
    own = server.settings(settings, backup_count_rows=False)
    take_backup(own)
    with server.connect() as connection:
        connection.execute("ALTER SYSTEM SET summarize_wal = off")
        connection.execute("SELECT pg_reload_conf()")
        connection.execute("SELECT pg_switch_wal()")
        connection.execute("CREATE TABLE unsummarised AS SELECT generate_series(1, 1000)")
        connection.execute("SELECT pg_switch_wal()")
        connection.execute("CHECKPOINT")
        summaries = server.server.data_dir / "pg_wal/summaries"
        assert wait_until(lambda: values(connection, "SHOW summarize_wal") == ["off"], 10)
        for each in summaries.iterdir():
            each.unlink()
        connection.execute("ALTER SYSTEM RESET summarize_wal")
        connection.execute("SELECT pg_reload_conf()")
        assert wait_until(lambda: values(connection, "SHOW summarize_wal") == ["on"], 10)
    heard = Heard()
    assert take_backup(own, heard, Kind.INCREMENTAL).parent is None
    assert any("the server refuses an incremental one" in said for said in heard.sentences), heard.sentences


def test_full_after_a_promotion(server: ScratchServer, settings: Settings) -> None:
    own = server.settings(settings, backup_count_rows=False)
    with scratch_server(summarize_wal="on") as other:
        own = other.settings(settings, backup_count_rows=False)
        take_backup(own)
        other.server.stop()
        (other.server.data_dir / "standby.signal").touch()
        other.server.start()
        with other.connect() as connection:
            connection.execute("SELECT pg_promote()")
            connection.execute("CHECKPOINT")
        heard = Heard()
        backup = take_backup(own, heard, Kind.INCREMENTAL)
        assert (backup.parent, backup.timeline) == (None, 2)
        assert any("This backup is full: there is no backup of timeline 2 yet." in said for said in heard.sentences)


def test_a_chain_with_a_tablespace(settings: Settings) -> None:
    with scratch_server(summarize_wal="on") as server, reachable_folder() as place:
        space = place / "space"
        space.mkdir()
        hand_over(space, server.server.account)
        with server.connect() as connection:
            connection.execute(f"CREATE TABLESPACE apart LOCATION '{space}'".encode())
            connection.execute("CREATE TABLE traffic (id bigint PRIMARY KEY, filler text) TABLESPACE apart")
            connection.execute("INSERT INTO traffic SELECT n, md5(n::text) FROM generate_series(1, 2000) AS n")
        made = server.settings(settings)
        take_backup(made)
        with server.connect() as connection:
            connection.execute("DELETE FROM traffic WHERE id % 2 = 0")
        second = take_backup(made, kind=Kind.INCREMENTAL)
        assert second.parent is not None
        found = rows_at(made, repository_of(made, server), BackupEnd(), place / "data", backup_id=second.id)
        assert found == set(range(1, 2000, 2))
