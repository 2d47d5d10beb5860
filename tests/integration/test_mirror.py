"""A second repository: what is copied there, that it is enough when the first is gone, and what makes it refuse."""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from ops_workflows.backup.dump import take_dump
from ops_workflows.backup.mirror import Mirrored, mirror
from ops_workflows.backup.policy import Kind
from ops_workflows.backup.removal import let_go
from ops_workflows.backup.take import take_backup
from ops_workflows.backup.wal_receiver import catch_up
from ops_workflows.definitions import defs as definitions
from ops_workflows.errors import ConfigurationError, IntegrityError, StorageError
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.postgres.server import DataDirectory
from ops_workflows.proof.restorable import restorable
from ops_workflows.repository.backup import Backup, StoredArchive, utc_now
from ops_workflows.repository.catalogue import Repository, open_repository
from ops_workflows.repository.dumps import Dumps
from ops_workflows.repository.holdings import Holdings
from ops_workflows.repository.layout import RECORD
from ops_workflows.repository.leases import leased
from ops_workflows.repository.pins import pin, pins
from ops_workflows.repository.records import sealed
from ops_workflows.repository.retention_facts import plan_retention, read_holdings
from ops_workflows.repository.rungs import Rung
from ops_workflows.repository.wal import segment_key
from ops_workflows.settings import Settings
from ops_workflows.storage.encryption import new_identity, public_keys
from ops_workflows.storage.upload import Upload
from tests.support.bucket import change, flipped
from tests.support.command import as_environment, ops_here
from tests.support.heard import Heard
from tests.support.killing import ended_at
from tests.support.ladder import climb
from tests.support.proxy import nth
from tests.support.records import backup
from tests.support.servers import ScratchServer, free_port, reachable_folder, scratch_server

SEGMENT = 16 * 1024**2


@dataclass(frozen=True)
class First:
    """A cluster and its first repository: a chain of two backups, a dump, and WAL behind them, all encrypted."""

    server: ScratchServer
    settings: Settings

    @property
    def repository(self) -> Repository:
        return open_repository(self.settings, self.server.system)

    def beside(self, folder: Path | None = None, **more: object) -> Settings:
        """Settings with a second repository of a test's own, in a folder or under another prefix of the bucket."""
        name = os.urandom(4).hex()
        url = folder.as_uri() if folder else f"s3://{self.settings.s3_bucket}/second_{name}"
        return self.settings.model_copy(update={"mirror_url": url} | more)


@pytest.fixture(scope="module")
def first(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[First]:
    identity = tmp_path_factory.mktemp("keys") / "identity"
    identity.write_text(new_identity())
    keys = {"age_recipients": ",".join(public_keys(identity)), "age_identity_file": identity}
    with scratch_server(max_slot_wal_keep_size="1GB", summarize_wal="on") as server:
        own = server.settings(settings, **keys)
        with server.connect() as connection:
            connection.execute("CREATE TABLE t AS SELECT n FROM generate_series(1, 1000) n")
        take_backup(own)
        catch_up(own, 30)
        with server.connect() as connection:
            connection.execute("INSERT INTO t SELECT n FROM generate_series(1, 500) n")
        take_backup(own, kind=Kind.INCREMENTAL)
        take_dump(own)
        with server.connect() as connection:
            connection.execute("INSERT INTO t SELECT n FROM generate_series(1, 250) n")
            connection.execute("SELECT pg_switch_wal()")
            connection.execute("INSERT INTO t SELECT n FROM generate_series(1, 125) n")
        catch_up(own, 30)
        yield First(server, own)


def second_of(settings: Settings, first: First) -> Repository:
    found = settings.mirrored()
    assert found is not None
    return open_repository(found, first.server.system)


def holdings(repository: Repository) -> Holdings:
    """What a repository holds; leases come and go."""
    found = read_holdings(repository, utc_now())
    return replace(
        found, restoring=frozenset(), objects={k: v for k, v in found.objects.items() if "restores/" not in k}
    )


def one(done: list[Mirrored]) -> Mirrored:
    (only,) = done
    return only


def rows(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT count(*) FROM t").fetchone()
    return int(row and row[0])


def test_all_of_it_is_there_verified_and_the_second_time_there_is_nothing_to_do(first: First, tmp_path: Path) -> None:
    repository = first.repository
    pin(repository, "latest", "audit")
    climb(Rung.STORED, first.settings, repository, repository.find("latest"))
    for own in (first.beside(tmp_path), first.beside()):
        planned = one(mirror(own, apply=False)).plan
        assert not second_of(own, first).backups()
        done = one(mirror(own))
        assert done.plan == planned
        copy = second_of(own, first)
        assert holdings(copy) == holdings(repository)
        assert pins(copy) == pins(repository)
        by_reading, by_checksum = done.verified.by_reading, done.verified.by_checksum
        assert (by_checksum == 0) if own.mirror_url == tmp_path.as_uri() else (by_reading == 0)
        assert done.copied["backups"] == 2
        assert done.copied["dumps"] == 1
        again = one(mirror(own))
        assert again.plan.is_empty
        assert not again.copied
        # The very proofs that the first one passes.
        second = own.mirrored()
        assert second is not None
        for each in copy.backups():
            for rung in (Rung.STORED, Rung.CHECKSUMMED):
                climbed = climb(rung, second, copy, each)
                assert climbed.passed, climbed.finding


@pytest.mark.parametrize("where", ["folder", "bucket"])
def test_with_the_first_gone_the_latest_moment_comes_back(first: First, where: str) -> None:
    with reachable_folder() as folder:
        place = folder / "second"
        place.mkdir()
        own = first.beside(place if where == "folder" else None)
        mirror(own)
        gone = {"s3_endpoint_url": f"http://127.0.0.1:{free_port()}", "s3_attempts": 1}
        lost = own.model_copy(update=gone if where == "folder" else {"s3_prefix": "no_more"})
        url = str(own.mirror_url)
        listed = ops_here(lost, folder, "backups", "--json", "--from", url)
        assert listed.code == 0, listed.err
        assert len(json.loads(listed.out)) == 2
        to = ("--target-dir", folder / "data", "--keep-running")
        done = ops_here(lost, folder, "restore", "--from", url, *to, "--json")
        assert done.code == 0, done.err
        try:
            assert rows(json.loads(done.out)["dsn"]) == 1875
        finally:
            DataDirectory(folder / "data").stop("immediate")
        dumps = Dumps(open_repository(lost.at(url), first.server.system))
        assert restorable(lost, dumps, dumps.find("latest")).passed


def test_what_is_gone_from_the_first_stays_in_the_second(first: First, tmp_path: Path) -> None:
    own = first.beside(tmp_path)
    mirror(own)
    before = holdings(second_of(own, first))
    lost = own.model_copy(update={"s3_prefix": f"lost_{os.urandom(4).hex()}"})
    open_repository(lost, first.server.system).store.put(f"{lost.s3_prefix}/{first.server.system}/wal/x", b"")
    mirror(lost)
    after = holdings(second_of(own, first))
    assert before.objects.items() <= after.objects.items()


def put_backup(repository: Repository, days_ago: int) -> Backup:
    """A backup that nobody opens, with an archive of two parts, and WAL at its start and between it and the next."""
    finished, at = utc_now() - timedelta(days=days_ago), (1000 - 10 * days_ago) * SEGMENT
    made = backup(
        id=f"{finished:%Y%m%dT%H%M%SZ}-0000",
        system=repository.layout.system,
        finished_at=finished,
        start_lsn=Lsn(at + 40),
        stop_lsn=Lsn(at + 400),
        objects=(),
    )
    content = os.urandom(9 * 1024**2)
    with Upload(repository.store, repository.layout.backup(made.id, "base.tar.zst"), threads=2) as upload:
        upload.write(content)
        done = upload.finish()
    stored = StoredArchive(
        name="base.tar.zst", size=done.size, sha256=done.sha256, etag=done.etag, checksum=done.checksum
    )
    made = made.model_copy(update={"objects": (stored,)})
    for start in (at, at + 5 * SEGMENT):
        repository.store.put(repository.layout.wal + segment_key(1, start, SEGMENT), b"segment")
    repository.store.put(repository.layout.backup(made.id, RECORD), sealed(made))
    return made


def test_it_keeps_a_retention_of_its_own(settings: Settings, tmp_path: Path) -> None:
    keep = {"mirror_keep_daily": 2, "mirror_keep_weekly": 0, "mirror_keep_monthly": 0}
    mine = {"s3_prefix": f"t_{os.urandom(4).hex()}", "mirror_url": tmp_path.as_uri()}
    own = settings.model_copy(update=mine)
    repository = open_repository(own, "123")
    made = [put_backup(repository, days) for days in (5, 4, 3)]
    small = own.model_copy(update=keep)
    assert one(mirror(small)).copied == {"backups": 2, "wal": 4}
    copy = open_repository(own.at(tmp_path.as_uri()), "123")
    assert [each.id for each in copy.backups()] == [each.id for each in made[1:]]
    assert one(mirror(small)).plan.is_empty
    # More is wanted, and then less again; the first repository is left alone all the while.
    assert one(mirror(own)).copied == {"backups": 1, "wal": 2}
    made.append(put_backup(repository, 2))
    done = one(mirror(small))
    assert done.copied == {"backups": 1, "wal": 2}
    assert done.enforced is not None
    assert set(done.enforced.backups) == {each.id for each in made[:2]}
    assert done.enforced.wal_objects == 4
    assert [each.id for each in copy.backups()] == [each.id for each in made[2:]]
    assert [each.id for each in repository.backups()] == [each.id for each in made]


def test_damage_is_said_is_not_copied_and_holds_up_nothing_else(first: First, tmp_path: Path) -> None:
    repository = first.repository
    full, child = repository.backups()
    own = first.beside(tmp_path)
    key = repository.layout.backup(full.id, full.archives()[0].name)
    content = repository.store.get(key)
    change(repository, key, flipped)
    try:
        with pytest.raises(IntegrityError, match=rf"all else was copied:.*{full.id}.*altered.*{child.id} has to wait"):
            mirror(own)
    finally:
        repository.store.put(key, content)
    copy = second_of(own, first)
    assert copy.backups() == []
    assert len(Dumps(copy).all()) == 1
    wal = {name for name in holdings(repository).objects if name.startswith("wal/")}
    assert wal <= holdings(copy).objects.keys()
    mirror(own)
    assert holdings(copy) == holdings(repository)


def test_what_was_damaged_in_the_second_is_mended_and_what_differs_is_not_replaced(
    first: First, tmp_path: Path
) -> None:
    own = first.beside(tmp_path)
    mirror(own)
    copy = second_of(own, first)
    whole = holdings(copy)
    segment = next(name for name in whole.objects if name.startswith("wal/") and ".tail/" not in name)
    archive = next(name for name in whole.objects if "base.tar" in name)
    for name in (segment, archive):
        path = tmp_path / first.server.system / name
        path.write_bytes(path.read_bytes()[:-1])
    mirror(own)
    assert holdings(copy) == whole
    copy.store.put(f"{first.server.system}/{segment}", b"another cluster's")
    with pytest.raises(IntegrityError, match=f"{segment} is in .* with other content"):
        mirror(own)
    assert copy.store.get(f"{first.server.system}/{segment}") == b"another cluster's"


def test_what_is_no_second_repository_is_refused(first: First, tmp_path: Path) -> None:
    for url, kind, said in (
        (None, ConfigurationError, "OPS_MIRROR_URL is not set"),
        (
            f"s3://{first.settings.s3_bucket}/{first.settings.s3_prefix}/",
            ConfigurationError,
            "names the first repository",
        ),
        ("/srv/second", ConfigurationError, "names no repository"),
        ((tmp_path / "not-mounted").as_uri(), StorageError, "is not there: make the folder, or mount"),
    ):
        with pytest.raises(kind, match=said):
            mirror(first.settings.model_copy(update={"mirror_url": url}))


def killed_at(settings: Settings, folder: Path, write: int, *, answered: bool) -> bool:
    """Mirror in a process that is killed at one of its writes into the second repository; whether it came to that."""
    counted = nth(write)
    at = lambda said: said.startswith(("PUT", "POST")) and "/second_" in said and counted(said)  # noqa: E731
    return ended_at(settings, folder, at, "ops", "mirror", "--json", answered=answered).acted


@pytest.mark.parametrize("answered", [False, True], ids=["before-it-arrives", "once-it-is-done"])
def test_killed_at_many_writes_nothing_looks_whole_that_is_not_and_it_goes_on(
    first: First, tmp_path: Path, answered: bool
) -> None:
    own, repository = first.beside(), first.repository
    copy = second_of(own, first)
    times = 0
    while killed_at(own, tmp_path, 8, answered=answered):
        there = holdings(copy)
        known = {each.id for each in there.backups}
        for each in there.backups:
            assert each.parent is None or each.parent in known
            sizes = [there.objects.get(f"backups/{each.id}/{stored.name}") for stored in each.objects]
            assert sizes == [stored.size for stored in each.objects]
        for dump in there.dumps:
            assert all(f"dumps/{dump.id}/{stored.name}" in there.objects for stored in dump.objects)
        times += 1
        assert times < 20
    assert times >= 2
    assert holdings(copy) == holdings(repository)


@pytest.mark.parametrize("where", ["folder", "bucket"])
def test_two_at_once_do_no_harm(first: First, tmp_path: Path, where: str) -> None:
    own = first.beside(tmp_path if where == "folder" else None)
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(mirror, own) for _ in range(2)]:
            done.result(60)
    assert holdings(second_of(own, first)) == holdings(first.repository)


def test_retention_of_the_first_may_run_beside_it(settings: Settings, tmp_path: Path) -> None:
    mine = {"s3_prefix": f"t_{os.urandom(4).hex()}", "mirror_url": tmp_path.as_uri(), "keep_weekly": 0}
    own = settings.model_copy(update=mine)
    repository = open_repository(own, "123")
    made = [put_backup(repository, days) for days in (5, 4, 3)]
    held: list[set[str]] = []

    class Deleting(Heard):
        def begin(self, phase: str, total: int | None, unit: str = "") -> None:  # noqa: ARG002
            """While the second one is copied, retention would let all three go but for the one that is being read."""
            if phase != f"mirror {made[1].id}":
                return
            held.append(leased(repository, utc_now()))
            policy = own.model_copy(update={"keep_daily": 1, "keep_monthly": 0})
            wal = [segment_key(1, (1000 - 10 * 5 + part) * SEGMENT, SEGMENT) for part in (0, 5)]
            repository.store.delete(repository.layout.wal + name for name in wal)
            removed = let_go(policy, repository, plan_retention(policy, repository))
            held.append(set(removed.backups))

    mirror(own, Deleting())
    assert held == [{made[1].id}, {made[0].id}]
    copy = open_repository(own.at(tmp_path.as_uri()), "123")
    assert [each.id for each in copy.backups()] == [each.id for each in made]
    assert not list(repository.store.objects(repository.layout.restores()))


@pytest.mark.parametrize("set_up", [True, False])
def test_the_job(first: First, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, set_up: bool) -> None:
    own = first.beside(tmp_path) if set_up else first.settings
    for name, value in as_environment(own).items():
        monkeypatch.setenv(name, value)
    done = definitions.resolve_job_def("mirror_repository").execute_in_process()
    assert done.success
    assert len(done.get_asset_materialization_events()) == set_up
    assert len(list(tmp_path.iterdir())) == set_up


def test_it_says_what_it_did(first: First, tmp_path: Path) -> None:
    second = tmp_path / "second"
    second.mkdir()
    own = first.beside(second)
    dry = ops_here(own, tmp_path, "mirror", "--dry-run")
    assert first.repository.backups()[0].id in dry.out
    assert not list(second.iterdir())
    done = json.loads(ops_here(own, tmp_path, "mirror", "--json").out)
    assert done[0]["copied"]["backups"] == 2
    assert "nothing" in ops_here(own, tmp_path, "mirror").out
    heard = Heard()
    mirror(own, heard)
    assert not heard.sentences
