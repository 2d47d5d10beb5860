"""What is being restored is not let go meanwhile; and dumps are let go as backups are."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from ops_workflows.backup.dump_lock import dump_lock
from ops_workflows.backup.retain import enforce
from ops_workflows.backup.take import take_backup
from ops_workflows.errors import RefusedError
from ops_workflows.postgres.connection import connect
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.postgres.processes import wait_until
from ops_workflows.repository import leases
from ops_workflows.repository.backup import utc_now
from ops_workflows.repository.catalogue import Repository, open_repository
from ops_workflows.repository.dump import Dump
from ops_workflows.repository.dumps import RECORD as DUMP_RECORD
from ops_workflows.repository.dumps import Dumps
from ops_workflows.repository.layout import RECORD
from ops_workflows.repository.proofs import Proof, record
from ops_workflows.repository.records import sealed
from ops_workflows.repository.retention_facts import plan_retention
from ops_workflows.restore import run
from ops_workflows.settings import Settings
from tests.support.bucket import forbidden, keys, pending
from tests.support.command import ops_here
from tests.support.heard import Heard
from tests.support.records import archive, backup
from tests.support.servers import ScratchServer, reachable_folder, scratch_server

SEGMENT = 16 * 1024**2
DAYS = (9, 8, 0)


@pytest.fixture(scope="module")
def server() -> Iterator[ScratchServer]:
    with scratch_server() as made:
        yield made


@pytest.fixture
def own(server: ScratchServer, settings: Settings) -> Settings:
    """A repository of the test's own that keeps but one day."""
    return server.settings(settings, keep_daily=1, keep_weekly=0, keep_monthly=0)


@pytest.fixture
def repository(server: ScratchServer, own: Settings) -> Repository:
    """Of three days, one backup and one dump each, which nobody opens here."""
    made = open_repository(own, server.system)
    for number, days in enumerate(DAYS, start=1):
        finished = utc_now() - timedelta(days=days, minutes=1)
        one = f"{finished:%Y%m%dT%H%M%SZ}-{number:04x}"
        start = Lsn(number * 100 * SEGMENT)
        taken = backup(id=one, finished_at=finished, start_lsn=start, stop_lsn=start, objects=(archive("a.tar.zst"),))
        made.store.put(made.layout.backup(one, "a.tar.zst"), b"content")
        made.store.put(made.layout.backup(one, RECORD), sealed(taken))
        dump = Dump(
            id=one,
            system=server.system,
            started_at=finished,
            finished_at=finished,
            server_version=180000,
            programs_major=18,
            databases=(),
            objects=(archive("a.dump"),),
        )
        made.store.put(f"{made.layout.dumps}{one}/a.dump", b"content")
        made.store.put(f"{made.layout.dumps}{one}/{DUMP_RECORD}", sealed(dump))
    return made


def ids(repository: Repository) -> list[str]:
    return [each.id for each in repository.backups()]


def dump_ids(repository: Repository) -> list[str]:
    return [each.id for each in Dumps(repository).all()]


def records(repository: Repository, backup_id: str) -> list[tuple[str, str]]:
    return [(backup_id, repository.layout.backup(backup_id, RECORD))]


def test_what_is_being_restored_stays_until_that_has_ended(own: Settings, repository: Repository) -> None:
    oldest, _, newest = ids(repository)
    with leases.reading(repository, records(repository, oldest)):
        todo = plan_retention(own, repository)
        assert todo.decisions[0].reasons == ("is being restored",)
        enforce(own)
        assert ids(repository) == [oldest, newest]
    assert not list(repository.store.objects(repository.layout.restores()))
    assert enforce(own).backups == (oldest,)


def test_a_restore_that_begins_at_the_last_moment_is_not_robbed(own: Settings, repository: Repository) -> None:
    oldest = ids(repository)[0]
    with ExitStack() as restoring:
        show = lambda _plan: restoring.enter_context(leases.reading(repository, records(repository, oldest)))  # noqa: E731
        done = enforce(own, show=show)
        assert f"Backup {oldest} was being restored meanwhile and stays, with all WAL." in done.said
        assert oldest in ids(repository)
        assert dump_ids(repository)[0] == oldest  # the same name: a lease holds for either


def test_what_was_let_go_just_before_is_refused(repository: Repository) -> None:
    oldest = ids(repository)[0]
    wanted = records(repository, oldest)
    repository.store.delete([wanted[0][1]])
    with pytest.raises(RefusedError, match=f"{oldest} is not in .* any more"), leases.reading(repository, wanted):
        pytest.fail("it is gone")
    assert not list(repository.store.objects(repository.layout.restores()))


def test_a_lease_is_renewed_and_one_of_a_killed_restore_expires(
    own: Settings, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    oldest = ids(repository)[0]
    monkeypatch.setattr(leases, "RENEWED_EVERY", timedelta(seconds=0.05))
    with leases.reading(repository, records(repository, oldest)):
        (found,) = repository.store.objects(repository.layout.restores(oldest))
        assert wait_until(lambda: next(repository.store.objects(found.key)).etag != found.etag, 10)
    left = f"{repository.layout.restores(oldest)}killed.json"
    repository.store.put(left, b"{}")
    assert leases.leased(repository, utc_now()) == {oldest}
    later = utc_now() + timedelta(hours=1, minutes=1)
    assert leases.leased(repository, later) == set()
    assert leases.sweep_leases(repository, utc_now()) == []
    monkeypatch.setattr(leases, "HOLDS", timedelta())
    assert any("expired lease" in said for said in enforce(own).said)
    assert left not in keys(own)


def test_a_restore_holds_one_and_gives_it_back(server: ScratchServer, own: Settings) -> None:
    taken = take_backup(own)
    repository = open_repository(own, server.system)
    seen: list[set[str]] = []

    class Looking(Heard):
        def begin(self, phase: str, total: int | None, unit: str = "") -> None:  # noqa: ARG002
            seen.append(leases.leased(repository, utc_now()))

    with reachable_folder() as folder:
        run.restore(own, repository, run.plan(taken, folder / "data"), Looking())
    assert seen
    assert all(each == {taken.id} for each in seen)
    assert leases.leased(repository, utc_now()) == set()


def test_with_a_key_that_may_only_read_it_goes_on_and_says_so(server: ScratchServer, own: Settings) -> None:
    taken = take_backup(own)
    repository = open_repository(own, server.system)
    heard = Heard()
    with forbidden(own, "s3:PutObject", "s3:DeleteObject"), reachable_folder() as folder:
        run.restore(own, repository, run.plan(taken, folder / "data"), heard)
    assert [said.partition(",")[0] for said in heard.sentences] == ["Retention may let go of what is read now"]


def test_dumps_go_as_backups_do(own: Settings, repository: Repository, tmp_path: Path) -> None:
    oldest, middle, newest = dump_ids(repository)
    shown = Proof(backup_id=oldest, what="restorable", passed=True, finding="It loads.", at=utc_now(), seconds=1)
    record(repository, shown)
    half = f"{repository.layout.dumps}20260101T000000Z-dead/a.dump"
    repository.store.put(half, b"half")
    repository.store.begin_upload(half)
    said = json.loads(ops_here(own, tmp_path, "retention", "--json").out)
    assert [(each["id"], each["keep"]) for each in said["dumps"]] == [(oldest, True), (middle, False), (newest, True)]
    table = ops_here(own, tmp_path, "retention").out
    assert "last that was shown to be restorable" in table
    assert "2 stay, 1 go" in table
    done = enforce(own)
    assert done.dumps == (middle,)
    assert dump_ids(repository) == [oldest, newest]
    assert half in keys(own)
    assert pending(own) == [half]
    keep_nothing = own.model_copy(update={"keep_debris_hours": 0, "keep_versions_days": 0})
    swept = enforce(keep_nothing)
    assert half not in keys(own)
    assert not pending(own)
    assert any("of dump 20260101T000000Z-dead" in said for said in swept.said)
    enforce(keep_nothing)  # what the sweep before has deleted is an old version only for the next
    assert {each.key for each in repository.store.versions(repository.layout.dumps)} == {
        key for key in keys(own) if "/dumps/" in key
    }


def test_while_a_dump_is_being_made_dumps_are_left_alone(
    own: Settings, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops_workflows.backup.dump_lock._PATIENCE_SECONDS", 0.3)
    heard = Heard()
    with connect(own.require("backup_dsn")) as connection, dump_lock(connection):
        done = enforce(own, heard)
    assert len(done.backups) == 2
    assert done.dumps == ()
    assert any(said.startswith("Dumps are left to the next time.") for said in heard.sentences)
    assert len(enforce(own).dumps) == 2
