"""Retention against a real bucket and a real server: what goes, what stays, and what makes it refuse."""

import json
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr
from typer.testing import CliRunner

from ops_workflows.backup import lock
from ops_workflows.backup.retain import enforce
from ops_workflows.cli import retention as commands
from ops_workflows.definitions import defs as definitions
from ops_workflows.errors import ConfigurationError, DatabaseError, RefusedError
from ops_workflows.postgres.connection import connect
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.repository import pins
from ops_workflows.repository.backup import Backup, StoredArchive
from ops_workflows.repository.catalogue import Repository, open_repository
from ops_workflows.repository.layout import MANIFEST, RECORD
from ops_workflows.repository.proofs import Proof, record
from ops_workflows.repository.records import sealed
from ops_workflows.repository.retention_facts import plan_retention
from ops_workflows.repository.wal import history_key, segment_key, tail_key
from ops_workflows.settings import Settings
from ops_workflows.storage.codec import Codec
from ops_workflows.storage.s3 import open_store
from tests.support.bucket import keys, pending
from tests.support.command import as_environment
from tests.support.killing import ended_at
from tests.support.proxy import nth
from tests.support.servers import free_port

NOW = datetime.now(UTC)
SEGMENT = 16 * 2**20
DAYS = (100, 40, 9, 8, 1, 0)
ARCHIVE = "base.tar.zst"


@pytest.fixture
def own(settings: Settings) -> Settings:
    """A repository of the test's own, whose policy keeps three of its six backups, the oldest being one day old."""
    small = {"keep_daily": 3, "keep_weekly": 0, "keep_monthly": 0, "s3_prefix": f"t_{secrets.token_hex(4)}"}
    return settings.model_copy(update=small)


@pytest.fixture
def repository(own: Settings) -> Repository:
    """Backups of `DAYS` ago, each a hundred segments further than the one before, and WAL around their starts."""
    with connect(own.require("backup_dsn")) as connection:
        row = connection.execute("SELECT system_identifier FROM pg_control_system()").fetchone()
    made = open_repository(own, str(row and row[0]))
    for number, days in enumerate(DAYS):
        put_backup(made, days, 100 * (number + 1))
        for segment in range(100 * (number + 1) - 1, 100 * (number + 1) + 2):
            made.store.put(made.layout.wal + segment_key(1, segment * SEGMENT, SEGMENT), b"segment")
    made.store.put(made.layout.wal + history_key(2), b"1\t0/1000000\tno recovery target specified\n")
    return made


def put_backup(repository: Repository, days_ago: float, at: int) -> Backup:
    """A backup's objects, which nobody opens here, and its record."""
    finished = NOW - timedelta(days=days_ago)
    backup_id = f"{finished:%Y%m%dT%H%M%SZ}-{at:04x}"
    stored = [StoredArchive(name=name, size=7, sha256="", etag="", checksum="") for name in (ARCHIVE, MANIFEST)]
    backup = Backup(
        id=backup_id,
        system=repository.layout.system,
        timeline=1,
        start_lsn=Lsn(at * SEGMENT + 40),
        stop_lsn=Lsn(at * SEGMENT + 400),
        started_at=finished - timedelta(minutes=1),
        finished_at=finished,
        server_version=180000,
        superuser="postgres",
        wal_segment_bytes=SEGMENT,
        data_checksums=True,
        codec=Codec.ZSTD,
        compressed_by="server",
        database_bytes=7,
        objects=tuple(stored),
    )
    for each in stored:
        repository.store.put(repository.layout.backup(backup_id, each.name), b"content")
    repository.store.put(repository.layout.backup(backup_id, RECORD), sealed(backup))
    return backup


def ids(repository: Repository) -> list[str]:
    return [backup.id for backup in repository.backups()]


def test_it_plans_carries_out_and_then_has_nothing_to_do(own: Settings, repository: Repository) -> None:
    before, all_ids = keys(own), ids(repository)
    other = f"{own.s3_prefix}/1234/backups/{all_ids[0]}/{RECORD}"
    repository.store.put(other, b"another cluster's")
    todo = plan_retention(own, repository)
    assert [backup.id for backup in todo.kept] == all_ids[-3:]
    assert sorted({*before, other}) == keys(own)  # a plan changes nothing

    done = enforce(own)
    assert done.plan == todo
    assert set(done.backups) == set(all_ids[:3])
    assert ids(repository) == all_ids[-3:]
    segments = [segment_key(1, n * SEGMENT, SEGMENT) for first in (400, 500, 600) for n in range(first - 1, first + 2)]
    left = {repository.layout.backup(each, name) for each in all_ids[-3:] for name in (ARCHIVE, MANIFEST, RECORD)}
    left |= {repository.layout.wal + name for name in [*segments[1:], history_key(2)]}
    assert set(keys(own)) == left | {other}
    assert done.wal_objects == 10

    again = enforce(own)
    assert (again.backups, again.wal_objects) == ((), 0)
    assert set(keys(own)) == left | {other}


def test_tails_go_with_their_segments_and_the_highest_proof_stays(own: Settings, repository: Repository) -> None:
    oldest, *_ = ids(repository)
    proof = Proof(backup_id=oldest, what="booted", passed=True, finding="It starts.", at=NOW, seconds=1)
    record(repository, proof)
    gone = repository.layout.wal + tail_key(1, 90 * SEGMENT, 90 * SEGMENT + 10, SEGMENT)
    needed = repository.layout.wal + tail_key(1, 150 * SEGMENT, 150 * SEGMENT + 10, SEGMENT)
    for key in (gone, needed):
        repository.store.put(key, b"tail")
    done = enforce(own)
    assert ids(repository)[0] == oldest
    assert done.plan.decisions[0].reasons == ("last backup that reached booted",)
    assert gone not in keys(own)
    assert needed in keys(own)


@pytest.mark.parametrize("content", [b"{", b'{"format": 2}', b""], ids=["torn", "newer", "empty"])
@pytest.mark.parametrize("what", [RECORD, pins.PIN])
def test_nothing_goes_while_a_record_cannot_be_read(
    own: Settings, repository: Repository, content: bytes, what: str
) -> None:
    repository.store.put(repository.layout.backup(ids(repository)[1], what), content)
    before = keys(own)
    with pytest.raises(RefusedError, match=f"Nothing is let go.*{what}"):
        enforce(own)
    with pytest.raises(RefusedError, match="Nothing is let go"):
        plan_retention(own, repository)
    assert keys(own) == before


def test_it_does_not_run_without_the_database(own: Settings, repository: Repository) -> None:
    before = keys(own)
    dsn = SecretStr(make_conninfo(own.require("backup_dsn"), port=free_port()))
    with pytest.raises(DatabaseError, match=r"only while it holds the cluster's backup lock.*Cannot connect"):
        enforce(own.model_copy(update={"backup_dsn": dsn, "connect_timeout_seconds": 3}))
    assert keys(own) == before


def test_it_does_not_run_beside_a_backup(
    own: Settings, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_PATIENCE_SECONDS", 1)
    before = keys(own)
    with (
        connect(own.require("backup_dsn"), application_name="ops_workflows backup") as connection,
        lock.backup_lock(connection),
    ):
        with pytest.raises(RefusedError, match=r"Another backup of this cluster is running.*ops_workflows backup"):
            enforce(own)
        assert keys(own) == before
    assert len(enforce(own).backups) == 3


def test_a_lost_lock_stops_it(own: Settings, repository: Repository) -> None:
    before = set(keys(own))

    def lose(_plan: object) -> None:
        with connect(own.require("backup_dsn")) as connection:
            mine = "FROM pg_stat_activity WHERE application_name = 'ops_workflows retention'"
            connection.execute(f"SELECT pg_terminate_backend(pid, 5000) {mine}".encode())

    with pytest.raises(DatabaseError, match="only while it holds"):
        enforce(own, show=lose)
    assert set(keys(own)) == before


def test_a_pin_that_comes_at_the_last_moment_holds(own: Settings, repository: Repository) -> None:
    before, first = set(keys(own)), ids(repository)[0]
    done = enforce(own, show=lambda _plan: pins.pin(repository, first, "wait") and None)
    assert first in ids(repository)
    assert first not in done.backups
    assert done.wal_objects == 0
    assert done.said[0] == f"Backup {first} was pinned meanwhile and stays, with all WAL."
    assert {key for key in before if f"/{first}/" in key or "/wal/" in key} <= set(keys(own))


def test_debris_goes_by_age(own: Settings, repository: Repository) -> None:
    left = repository.layout.backup("20260101T000000Z-dead", ARCHIVE)
    repository.store.put(left, b"half")
    repository.store.begin_upload(left)
    before = set(keys(own))
    todo = plan_retention(own, repository)
    young = enforce(own.model_copy(update={"keep_daily": 30}))
    assert len(todo.decisions) == len(young.plan.decisions)  # debris is no backup
    assert set(keys(own)) >= before - {piece.key for piece in young.plan.wal}
    assert pending(own) == [left]
    old = enforce(own.model_copy(update={"keep_daily": 30, "keep_debris_hours": 0}))
    assert left not in keys(own)
    assert pending(own) == []
    assert [said.partition(" ")[0] for said in old.said] == ["Aborted", "Removed"]
    assert len(ids(repository)) == len(DAYS)


def test_old_versions_go_and_what_is_there_stays(own: Settings, repository: Repository) -> None:
    store = repository.store
    outside = f"{own.s3_prefix}-elsewhere/backups/x"
    for content in (b"1", b"2"):
        store.put(outside, content)
    pins.pin(repository, "latest", "first")
    pins.pin(repository, "latest", "second")
    first = enforce(own)
    assert first.backups
    assert first.versions == 0  # deleted a moment ago: it can be had back for a week
    root = f"{own.s3_prefix}/"
    kept, there = len(list(store.versions(root))), keys(own)
    assert kept > len(there)

    second = enforce(own.model_copy(update={"keep_versions_days": 0}))
    assert second.versions == kept - len(there)
    assert {(each.key, each.is_latest, each.is_marker) for each in store.versions(root)} == {
        (key, True, False) for key in there
    }
    assert pins.pins(repository)[ids(repository)[-1]].reason == "second"
    assert len(list(store.versions(outside))) == 2


def test_versions_under_object_lock_stay_and_are_said(own: Settings, repository: Repository) -> None:
    bucket = f"locked-{secrets.token_hex(4)}"
    store = open_store(own.model_copy(update={"s3_bucket": bucket}))
    store._client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    locked = repository.layout.wal + segment_key(1, 5 * SEGMENT, SEGMENT)
    until = datetime.now(UTC) + timedelta(days=1)
    store._client.put_object(
        Bucket=bucket, Key=locked, Body=b"1", ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=until
    )
    store.delete([locked])
    free = repository.layout.wal + segment_key(1, 6 * SEGMENT, SEGMENT)
    store.put(free, b"1")
    store.delete([free])
    done = enforce(own.model_copy(update={"s3_bucket": bucket, "keep_versions_days": 0}))
    assert "The bucket keeps 1 old versions" in done.said[0]
    assert locked in done.said[0]
    assert done.versions == 2
    assert [each.is_marker for each in store.versions(repository.layout.wal)] == [True, False]


ENFORCE = "from ops_workflows.settings import Settings; from ops_workflows.backup.retain import enforce"


def killed_at(settings: Settings, folder: Path, deletion: int, *, answered: bool) -> bool:
    """Carry the plan out in a process that is killed at one of its deletions; whether it came to that one."""
    counted = nth(deletion)
    code = f"{ENFORCE}; enforce(Settings.read())"
    at = lambda said: said.startswith("POST") and "delete" in said and counted(said)  # noqa: E731
    return ended_at(settings, folder, at, "python", "-c", code, answered=answered).acted


@pytest.mark.parametrize("answered", [False, True], ids=["before-it-arrives", "once-it-is-done"])
def test_killed_at_every_deletion_it_goes_on_where_it_was(
    own: Settings, repository: Repository, tmp_path: Path, answered: bool
) -> None:
    own = own.model_copy(update={"keep_debris_hours": 0})
    wanted = plan_retention(own, repository)
    parts = (ARCHIVE, MANIFEST, RECORD)
    gone = {piece.key for piece in wanted.wal}
    gone |= {repository.layout.backup(backup.id, name) for backup in wanted.gone for name in parts}
    left = set(keys(own)) - gone
    times = 0
    # Each run goes on where the one before was killed, and gets one deletion further.
    while killed_at(own, tmp_path, 0 if answered else 1, answered=answered):
        there = set(keys(own))
        assert left <= there
        for listed in ids(repository):
            assert {repository.layout.backup(listed, name) for name in parts} <= there
        times += 1
        assert times < 20
    assert times >= 4
    assert set(keys(own)) == left
    assert not plan_retention(own, repository).gone


class Cli:
    """The commands, as they are registered, inside this process."""

    def __init__(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        self._app = typer.Typer()
        commands.register(self._app)
        for name, value in as_environment(settings).items():
            monkeypatch.setenv(name, value)

    def __call__(self, *arguments: str) -> str:
        return CliRunner().invoke(self._app, arguments, catch_exceptions=False).stdout


def test_the_commands(
    own: Settings,
    repository: Repository,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    ops, (first, second, *_, latest) = Cli(own, monkeypatch), ids(repository)
    assert f"Backup {first} is pinned" in ops("pin", first, "--reason", "audit")
    assert f"Backup {latest} is pinned" in ops("pin", "latest")
    assert f"Backup {second} was not pinned" in ops("unpin", second)
    assert f"Backup {latest} is left to the policy again" in ops("unpin", latest)
    with pytest.raises(RefusedError, match="There is no backup"):
        ops("pin", "20200101T000000Z-0000")
    with pytest.raises(ConfigurationError, match="leave --system out"):
        ops("retention", "--apply", "--system", "1")

    said = json.loads(ops("retention", "--json"))
    assert [(each["keep"], each["reasons"][0]) for each in said["backups"]][:2] == [
        (True, "pinned: audit"),
        (False, "past the 3 daily, 0 weekly and 0 monthly"),
    ]
    assert said["freed_bytes"] == 2 * 14 + 7  # two backups, and the segment before the oldest that stays
    assert first in ids(repository)
    applied = json.loads(ops("retention", "--apply", "--json"))["applied"]
    assert len(applied["backups"]) == 2
    ops("unpin", first)
    capsys.readouterr()
    ops("retention", "--apply")
    assert ids(repository)[0] != first


@pytest.mark.parametrize("apply", [False, True])
def test_the_job(own: Settings, repository: Repository, monkeypatch: pytest.MonkeyPatch, *, apply: bool) -> None:
    for name, value in as_environment(own).items():
        monkeypatch.setenv(name, value)
    config = {"ops": {"let_old_backups_go": {"config": {"apply": apply}}}}
    assert definitions.resolve_job_def("enforce_retention").execute_in_process(run_config=config).success
    assert len(ids(repository)) == (3 if apply else len(DAYS))
