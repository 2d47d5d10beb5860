"""A tablespace that was made behind a backup: replay makes it at its old path, which must not be the living one."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr

from ops_workflows.backup.take import take_backup
from ops_workflows.backup.wal_receiver import catch_up
from ops_workflows.errors import ConfigurationError, RefusedError
from ops_workflows.postgres.account import hand_over
from ops_workflows.repository.backup import Backup
from ops_workflows.restore.moment import BackupEnd, Latest
from ops_workflows.settings import Settings
from tests.support.command import ops_here
from tests.support.continuous import recovered, repository_of, values
from tests.support.heard import Heard
from tests.support.servers import (
    ScratchServer,
    fill_with_noise,
    free_port,
    reachable_folder,
    scratch_server,
    with_heartbeats,
)

ROWS = 1000


@dataclass
class Grown:
    """A server with a tablespace that its backup does not know; the log that makes it is in the bucket."""

    server: ScratchServer
    settings: Settings
    backup: Backup
    place: Path

    @property
    def gone(self) -> Settings:
        """Settings with which its database does not answer."""
        return self.settings.model_copy(update={"backup_dsn": SecretStr(self.server.dsn(port=free_port()))})

    def content(self) -> dict[str, str]:
        """Every file in the living tablespace, on the disk as in memory."""
        with self.server.connect() as connection:
            connection.execute("CHECKPOINT")
        files = sorted(path for path in self.place.rglob("*") if path.is_file())
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def grow(server: ScratchServer, name: str) -> Path:
    """Make a tablespace with a table in it."""
    place = server.folder / name
    place.mkdir(mode=0o700)
    hand_over(place, server.server.account)
    with server.connect() as connection:
        connection.execute(f"CREATE TABLESPACE {name} LOCATION '{place}'".encode())
        connection.execute(
            f"CREATE TABLE in_{name} TABLESPACE {name} AS SELECT generate_series(1, {ROWS}) AS n".encode()
        )
    return place


@contextmanager
def grown_server(settings: Settings) -> Iterator[Grown]:
    with scratch_server() as server:
        with_heartbeats(server)
        own = server.settings(settings, scratch_dir=server.folder / "scratch", primary_data_dir=server.server.data_dir)
        backup = take_backup(own)
        place = grow(server, "fast")
        catch_up(own, 60)
        yield Grown(server, own, backup, place)


@pytest.fixture(scope="module")
def grown(settings: Settings) -> Iterator[Grown]:
    with grown_server(settings) as made:
        yield made


@pytest.fixture
def folder() -> Iterator[Path]:
    with reachable_folder() as made:
        yield made


@pytest.mark.parametrize(
    "command",
    [
        ["drill", "--to", "latest"],
        ["restore", "--target-dir", "FOLDER/data"],
        ["restore", "--in-place", "--confirm", "postgres"],
        ["restore-table", "public.in_fast", "--to", "latest"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_no_recovery_comes_near_the_living_tablespace(grown: Grown, folder: Path, command: list[str]) -> None:
    before = grown.content()
    words = [word.replace("FOLDER", str(folder)) for word in command]
    owner = grown.settings.model_copy(update={"owner_dsn": SecretStr(grown.server.dsn("postgres"))})
    done = ops_here(owner, folder, *words)
    assert done.code == 1
    assert f"was made after backup {grown.backup.id} began, and replay would write into {grown.place}" in done.sentence
    assert "take a new base backup first" in done.sentence
    assert list(folder.iterdir()) == []
    assert grown.server.server.is_ready()
    assert grown.content() == before


def test_a_proof_of_the_backup_itself_does_not_come_to_it(grown: Grown, folder: Path) -> None:
    before = grown.content()
    done = ops_here(grown.settings, folder, "verify", "--backup", grown.backup.id, "--rung", "sound")
    assert done.code == 0, done
    assert grown.content() == before


def test_a_server_of_another_cluster_has_no_say(grown: Grown, settings: Settings, folder: Path) -> None:
    """Whose tablespace, of whatever number, no log of ours makes."""
    with scratch_server() as other:
        grow(other, "other")
        own = grown.settings.model_copy(update={"backup_dsn": SecretStr(other.dsn())})
        repository = repository_of(own, grown.server)
        grown.place.rename(grown.place.with_name("away"))
        try:
            with pytest.raises(ConfigurationError), recovered(own, repository, Latest(), folder / "data"):
                pass
        finally:
            grown.place.with_name("away").rename(grown.place)


def test_where_the_folder_is_not_there_it_is_named_and_made_it_comes_back(grown: Grown, folder: Path) -> None:
    """On another machine, or where the database is gone with all that it had."""
    living = grown.place.rename(grown.place.with_name("living"))
    try:
        done = ops_here(grown.gone, folder, "restore", "--target-dir", folder / "data")
        assert done.code == 1
        assert f"stopped where its log makes a tablespace in {grown.place} " in done.sentence
        assert f'(directory "{grown.place}" does not exist): make that folder on this machine' in done.sentence
        grown.place.mkdir(mode=0o700)
        hand_over(grown.place, grown.server.server.account)
        repository = repository_of(grown.settings, grown.server)
        for settings, name in ((grown.settings, "answers"), (grown.gone, "gone")):
            for left in grown.place.iterdir():
                left.rename(folder / f"left by {name}")
            with recovered(settings, repository, Latest(), folder / name) as connection:
                assert values(connection, "SELECT count(*) FROM in_fast") == [ROWS]
    finally:
        if grown.place.exists():
            grown.place.rename(folder / "replayed")
        living.rename(grown.place)


def test_after_a_new_base_backup_all_is_well(settings: Settings, folder: Path) -> None:
    with grown_server(settings) as grown:
        newer = take_backup(grown.settings)
        with grown.server.connect() as connection:
            connection.execute(f"INSERT INTO in_fast SELECT generate_series(1, {ROWS})".encode())
        catch_up(grown.settings, 60)
        before = grown.content()
        drilled = json.loads(ops_here(grown.settings, folder, "drill", "--to", "latest", "--json").out)
        assert (drilled["backup_id"], drilled["rto_seconds"] is None) == (newer.id, False)
        repository = repository_of(grown.settings, grown.server)
        with recovered(grown.settings, repository, Latest(), folder / "data") as connection:
            assert values(connection, "SELECT count(*) FROM in_fast") == [2 * ROWS]
        assert grown.content() == before


class Meanwhile(Heard):
    """Makes a tablespace once a backup has begun to arrive, which is when the server knows what it will hold."""

    def __init__(self, server: ScratchServer) -> None:
        super().__init__()
        self.server = server
        self.place: Path | None = None

    def begin(self, phase: str, total: int | None, unit: str = "") -> None:
        super().begin(phase, total, unit)
        if phase == "back up" and self.place is None:
            self.place = grow(self.server, "sudden")


def test_made_while_the_backup_runs(settings: Settings, folder: Path) -> None:
    """Then its own archive has the log that makes it, and its own proof would write into the living tablespace."""
    with scratch_server() as server:
        fill_with_noise(server, 20)
        own = server.settings(settings, scratch_dir=server.folder / "scratch")
        meanwhile = Meanwhile(server)
        backup = take_backup(own, meanwhile)
        place = meanwhile.place
        assert place is not None
        assert backup.tablespaces == ()
        grown = Grown(server, own, backup, place)
        before = grown.content()
        repository = repository_of(own, server)
        catch_up(own, 60)
        for each in (own, grown.gone):  # what lies in the archive, nobody has to be asked
            with (
                reachable_folder() as target,
                pytest.raises(RefusedError, match=f"made while backup {backup.id} ran, .* would write into {place}"),
                recovered(each, repository, BackupEnd(), target / "data"),
            ):
                pass
        done = ops_here(own, folder, "verify", "--backup", backup.id, "--rung", "booted")
        assert done.code == 1
        assert "made while backup" in done.sentence
        assert grown.content() == before
        take_backup(own)
        assert ops_here(own, folder, "verify", "--backup", "latest", "--rung", "booted").code == 0
        assert grown.content() == before
