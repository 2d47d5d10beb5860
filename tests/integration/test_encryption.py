"""Backups and WAL that the host which makes them cannot read; whoever has a key can, and others are told at once."""

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from ops_workflows.backup.policy import Kind
from ops_workflows.backup.take import take_backup
from ops_workflows.backup.wal_receiver import catch_up
from ops_workflows.backup.wal_shipper import WalShipper
from ops_workflows.errors import ConfigurationError, IntegrityError
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.postgres.processes import wait_until
from ops_workflows.progress import SILENT
from ops_workflows.proof.checksummed import checksummed
from ops_workflows.proof.log import Log
from ops_workflows.proof.seen import listed
from ops_workflows.proof.stored import stored
from ops_workflows.repository.backup import Backup
from ops_workflows.repository.catalogue import Repository, open_repository
from ops_workflows.repository.rungs import Rung
from ops_workflows.restore import run
from ops_workflows.restore.moment import Latest
from ops_workflows.restore.readable import require_wal
from ops_workflows.restore.route import find_route
from ops_workflows.settings import Settings
from ops_workflows.storage.encryption import new_identity, public_keys
from tests.support.bucket import change, flipped
from tests.support.command import ops_here
from tests.support.ladder import climb
from tests.support.servers import ScratchServer, reachable_folder, scratch_server

SEGMENT = 1024 * 1024


@dataclass(frozen=True)
class Hosts:
    """Of one cluster: the host that backs up and has no secret, the escrow that has one, and somebody else."""

    server: ScratchServer
    host: Settings
    escrow: Settings
    stranger: Settings

    @property
    def repository(self) -> Repository:
        return open_repository(self.escrow, self.server.system)

    @property
    def blind(self) -> Repository:
        return open_repository(self.host, self.server.system)


def identity(folder: Path, name: str) -> Path:
    file = folder / name
    file.write_text(new_identity())
    return file


@pytest.fixture(scope="module")
def hosts(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    folder = tmp_path_factory.mktemp("keys")
    ours, escrow, other = (identity(folder, name) for name in ("ours", "escrow", "other"))
    with scratch_server(summarize_wal="on", max_slot_wal_keep_size="1GB") as server:
        recipients = ",".join(public_keys(ours) + public_keys(escrow))
        host = server.settings(settings, age_recipients=recipients, age_identity_file=None)
        yield Hosts(
            server,
            host,
            host.model_copy(update={"age_identity_file": escrow}),
            host.model_copy(update={"age_identity_file": other}),
        )


@pytest.fixture(scope="module")
def backups(hosts: Hosts) -> tuple[Backup, Backup]:
    """A full one and an incremental one, both taken by the host that cannot read them."""
    with hosts.server.connect() as connection:
        connection.execute("CREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, 50000) n")
    full = take_backup(hosts.host)
    with hosts.server.connect() as connection:
        connection.execute("INSERT INTO t VALUES (0, 'SECRET-IN-A-ROW')")
    return full, take_backup(hosts.host, kind=Kind.INCREMENTAL)


def test_the_record_tells_what_is_encrypted_and_to_whom(hosts: Hosts, backups: tuple[Backup, Backup]) -> None:
    for backup in backups:
        assert backup.encrypted
        assert backup.recipients == tuple(hosts.host.age_recipients.split(","))
        assert [archive.name for archive in backup.archives()] == ["base.tar.zst.age"]
        assert {found.name for found in backup.objects} == {"base.tar.zst.age", "backup_manifest", "rows.json"}
        content = hosts.blind.store.get(hosts.blind.layout.backup(backup.id, "base.tar.zst.age"))
        assert content.startswith(b"age-encryption.org/v1\n")
    assert backups[1].parent == backups[0].id


def test_the_host_can_list_and_look_but_not_read(hosts: Hosts, backups: tuple[Backup, Backup]) -> None:
    assert [backup.id for backup in hosts.blind.backups()] == [backup.id for backup in backups]
    there = listed(hosts.blind)
    assert all(stored(hosts.blind, backup, there).passed for backup in backups)
    with pytest.raises(ConfigurationError, match=f"Backup {backups[0].id} is encrypted and OPS_AGE_IDENTITY_FILE"):
        checksummed(hosts.blind, backups[0], Log(hosts.host, hosts.blind), threads=2)


def test_the_escrow_proves_and_restores(hosts: Hosts, backups: tuple[Backup, Backup]) -> None:
    full, incremental = backups
    assert climb(Rung.CHECKSUMMED, hosts.escrow, hosts.repository, full).passed
    booted = climb(Rung.BOOTED, hosts.escrow, hosts.repository, incremental)
    assert booted.passed, booted.finding


@pytest.mark.parametrize("who", ["host", "stranger"])
def test_without_a_key_that_fits_nothing_is_begun(hosts: Hosts, backups: tuple[Backup, Backup], who: str) -> None:
    settings: Settings = getattr(hosts, who)
    with reachable_folder() as folder:
        ended = ops_here(settings, folder, "restore", "--target-dir", folder / "data", "--backup", "latest")
        assert ended.code == 1
        assert f"Backup {backups[0].id} is encrypted" in ended.sentence
        assert "OPS_AGE_IDENTITY_FILE" in ended.sentence
        assert list(folder.iterdir()) == []


def test_an_altered_object_is_named(hosts: Hosts, backups: tuple[Backup, Backup]) -> None:
    repository, (full, _) = hosts.repository, backups
    key = repository.layout.backup(full.id, "base.tar.zst.age")
    before = repository.store.get(key)
    try:
        change(repository, key, flipped)
        climbed = climb(Rung.CHECKSUMMED, hosts.escrow, repository, full)
        assert not climbed.passed
        assert key in climbed.finding
        change(repository, key, lambda content: content[:-10])
        assert key in climb(Rung.CHECKSUMMED, hosts.escrow, repository, full).finding
    finally:
        repository.store.put(key, before)


def test_wal_of_both_kinds_leads_to_the_latest_moment(hosts: Hosts, backups: tuple[Backup, Backup]) -> None:
    for number, settings in enumerate((hosts.host, hosts.host.model_copy(update={"age_recipients": ""}), hosts.host)):
        with hosts.server.connect() as connection:
            connection.execute("INSERT INTO t SELECT -%s, 'later' FROM generate_series(1, 1000)", [number + 1])
            connection.execute("SELECT pg_switch_wal()")
        catch_up(settings, 30)
    repository = hosts.repository
    names = [found.key for found in repository.store.objects(repository.layout.wal)]
    assert {name.rpartition(".")[2] for name in names} == {"zst", "age"}
    route, listing = find_route(repository, Latest())
    with pytest.raises(ConfigurationError, match=r"/wal/00000001/.*\.zst\.age is encrypted to other keys"):
        require_wal(open_repository(hosts.stranger, hosts.server.system), route.reach, listing)
    with reachable_folder() as folder:
        chosen = run.plan(route, folder / "data", chain=repository.chain(route.backup))
        with (
            run.recovered(hosts.escrow, repository, chosen, listing) as (restored, server),
            psycopg.connect(server.dsn("postgres", restored.backup.superuser)) as connection,
        ):
            found = connection.execute("SELECT count(*) FROM t").fetchone()
    assert found == (50001 + 3000,)


@pytest.fixture(params=["bucket", "folder"])
def writing(request: pytest.FixtureRequest, settings: Settings, tmp_path: Path) -> Settings:
    """Settings of a host that encrypts and cannot read, for a repository of the test's own."""
    recipients = ",".join(public_keys(identity(tmp_path, "key")))
    own = settings.model_copy(update={"age_recipients": recipients, "age_identity_file": None})
    place = tmp_path / "repository"
    place.mkdir()
    if request.param == "folder":
        return own.at(place.as_uri())
    return own.model_copy(update={"s3_prefix": f"t_{secrets.token_hex(4)}"})


def ship(settings: Settings, content: bytes) -> Repository:
    """One segment of a timeline, as a receiver ships it; with what is left over, a tail."""
    repository = open_repository(settings, "7000000000000000001")
    awake, wake = os.pipe()
    shipper = WalShipper(
        repository, timeline=1, start=Lsn(0), segment_bytes=SEGMENT, level=1, progress=SILENT, wake=wake
    )
    try:
        shipper.add(Lsn(0), memoryview(content), None)
        shipper.ship_tail()
        assert wait_until(lambda: shipper.acknowledge() and shipper.flushed == len(content), timeout=30)
    finally:
        shipper.close()
        os.close(awake)
        os.close(wake)
    return repository


def test_a_segment_is_stored_once_though_nobody_here_can_read_it(writing: Settings) -> None:
    content = os.urandom(SEGMENT)
    repository = ship(writing, content + b"tail")
    keys = [found.key for found in repository.store.objects(repository.layout.wal)]
    assert [key.endswith(".zst.age") for key in keys] == [True, True]
    first = repository.store.get(keys[0])
    ship(writing, content)
    assert repository.store.get(keys[0]) == first
    # Nor a second time when encryption is switched off.
    ship(writing.model_copy(update={"age_recipients": ""}), content)
    assert f"{keys[0].removesuffix('.age')}" not in [found.key for found in repository.store.objects(keys[0][:-10])]
    for other in (writing, writing.model_copy(update={"age_recipients": ""})):
        with pytest.raises(IntegrityError, match="is in the bucket with other content"):
            ship(other, flipped(content))
    assert repository.store.get(keys[0]) == first


def test_a_segment_that_an_older_program_stored_is_compared_by_its_bytes(writing: Settings) -> None:
    plain = writing.model_copy(update={"age_recipients": ""})
    content = os.urandom(SEGMENT)
    repository = ship(plain, content)
    (found,) = repository.store.objects(repository.layout.wal)
    change(repository, found.key, lambda same: same)  # its metadata is gone
    ship(plain, content)
    ship(writing, content)
    assert [each.key for each in repository.store.objects(repository.layout.wal)] == [found.key]
    with pytest.raises(IntegrityError, match="other content"):
        ship(plain, flipped(content))
