"""`ops verify` and `ops status`: what was shown is not shown again; what is damaged is named and turns all red."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops_workflows.backup.canary import plant
from ops_workflows.backup.take import take_backup
from ops_workflows.definitions import defs as definitions
from ops_workflows.proof.ladder import Ladder
from ops_workflows.proof.verify import verify_backups
from ops_workflows.repository.backup import Backup
from ops_workflows.repository.catalogue import Repository, open_repository
from ops_workflows.repository.log_ledger import seen
from ops_workflows.repository.proofs import State, proofs
from ops_workflows.repository.reach import read_listing
from ops_workflows.repository.rungs import Rung
from ops_workflows.settings import Settings
from tests.support.bucket import change, flipped, named, put_back
from tests.support.command import as_environment, ops_here
from tests.support.continuous import caught_up, receiving
from tests.support.ladder import climb
from tests.support.servers import ScratchServer, fill_with_noise, scratch_server, with_heartbeats

ALL = [rung.value for rung in Rung]


@pytest.fixture(scope="module")
def server() -> Iterator[ScratchServer]:
    with scratch_server() as made:
        fill_with_noise(made, 2)
        with_heartbeats(made)
        yield made


@pytest.fixture(scope="module")
def own(server: ScratchServer, settings: Settings) -> Iterator[Settings]:
    """With a receiver at work, a backup, and canaries behind it."""
    made = server.settings(settings, wal_flush_seconds=0.2)
    with receiving(made, server):
        take_backup(made)
        for _ in range(3):
            plant(made)
        caught_up(server)
        yield made


@pytest.fixture(scope="module")
def repository(own: Settings, server: ScratchServer) -> Repository:
    return open_repository(own, server.system)


@pytest.fixture(scope="module")
def backup(repository: Repository) -> Backup:
    return repository.find("latest")


def test_all_seven_rungs_and_then_nothing_is_read_again(
    own: Settings, repository: Repository, backup: Backup, tmp_path: Path
) -> None:
    done = ops_here(own, tmp_path, "verify", "--rung", "exact", "--json")
    assert done.code == 0, done
    climbs = json.loads(done.out)[backup.id]["rungs"]
    assert [(each["rung"], each["passed"]) for each in climbs] == [(rung, True) for rung in ALL]
    records = len(proofs(repository, backup.id))
    assert records == len(ALL)

    again = json.loads(ops_here(own, tmp_path, "verify", "--rung", "exact", "--json").out)[backup.id]["rungs"]
    assert [each["rung"] for each in again if each["shown_at"] is None] == ["stored", "contiguous"]
    assert len(proofs(repository, backup.id)) == records + 2

    old = own.model_copy(update={"proof_days": 0})
    stale = [each for each in Ladder(old, repository).climb(backup, Rung.CHECKSUMMED) if each.shown_at is None]
    assert [each.rung for each in stale] == [Rung.STORED, Rung.CHECKSUMMED]


def test_the_job_lays_the_ledger_out(own: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in as_environment(own).items():
        monkeypatch.setenv(name, value)
    done = definitions.resolve_job_def("verify_backups").execute_in_process()
    assert done.success
    (event,) = done.asset_materializations_for_node("backup_proof")
    assert event.metadata["faulty"].value == 0
    assert "| exact |" in str(event.metadata["ladder"].value)


def test_the_job_fails_over_a_backup_that_is_damaged_and_says_all_it_knows(
    own: Settings, repository: Repository, backup: Backup, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in as_environment(own).items():
        monkeypatch.setenv(name, value)
    key = repository.layout.backup(backup.id, named(backup, "base.tar"))
    before = repository.store.get(key)
    change(repository, key, flipped)
    try:
        done = definitions.resolve_job_def("verify_backups").execute_in_process(raise_on_error=False)
    finally:
        put_back(repository, key, before)
    assert not done.success
    (event,) = done.asset_materializations_for_node("backup_proof")
    assert event.metadata["faulty"].value == 1
    assert {each.check_name for each in done.get_asset_check_evaluations()} == {"all_proved", "rto_forecast"}


@pytest.mark.parametrize("name", ["base.tar", "backup_manifest", "rows.json"])
def test_one_bit_turns_it_all_red(
    own: Settings, repository: Repository, backup: Backup, tmp_path: Path, name: str
) -> None:
    stored = next(each for each in backup.objects if each.name.startswith(name))
    key = repository.layout.backup(backup.id, stored.name)
    before = repository.store.get(key)
    change(repository, key, flipped)
    try:
        done = ops_here(own, tmp_path, "verify", "--backup", backup.id)
        assert done.code == 1
        assert stored.name in done.err
        status = json.loads(ops_here(own, tmp_path, "status", "--json").out)
        assert status["protected"] is False
        assert any(backup.id in problem for problem in status["problems"])
        assert not climb(Rung.CHECKSUMMED, own, repository, backup).passed
    finally:
        put_back(repository, key, before)
    assert all(each.passed for each in Ladder(own, repository, again=True).climb(backup, Rung.CHECKSUMMED))


def test_log_is_read_once_and_again_when_it_has_changed(
    own: Settings, repository: Repository, backup: Backup, tmp_path: Path
) -> None:
    assert ops_here(own, tmp_path, "verify", "--rung", "contiguous").code == 0
    lists = seen(repository)
    assert ops_here(own, tmp_path, "verify", "--rung", "contiguous").code == 0
    assert seen(repository) == lists
    piece = read_listing(repository, backup.wal_segment_bytes)[0].pieces[-1]
    before = repository.store.get(piece.key)
    change(repository, piece.key, flipped)
    try:
        done = ops_here(own, tmp_path, "verify", "--rung", "exact")
        assert done.code == 1
        assert "checksummed" in done.err
        assert piece.key in done.err
    finally:
        put_back(repository, piece.key, before)
    assert ops_here(own, tmp_path, "verify", "--rung", "contiguous").code == 0


def test_an_end_of_the_log_that_was_read_and_is_gone(own: Settings, repository: Repository, tmp_path: Path) -> None:
    assert ops_here(own, tmp_path, "verify", "--rung", "contiguous").code == 0
    (*_, last) = repository.store.objects(repository.layout.wal)
    kept = repository.store.get(last.key)
    repository.store.delete([last.key])
    try:
        done = ops_here(own, tmp_path, "verify", "--rung", "contiguous")
        assert done.code == 1
        assert "its end has gone from the bucket" in done.err
    finally:
        repository.store.put(last.key, kept)


def test_a_segment_that_is_gone_is_named(own: Settings, repository: Repository, backup: Backup, tmp_path: Path) -> None:
    listed = [found.key for found in repository.store.objects(repository.layout.wal)]
    kept = {key: repository.store.get(key) for key in listed}
    repository.store.delete(listed)
    try:
        done = ops_here(own, tmp_path, "verify", "--rung", "contiguous")
        assert done.code == 1
        assert "contiguous" in done.err
        assert "write-ahead log" in done.err
    finally:
        for key, content in kept.items():
            repository.store.put(key, content)
    assert climb(Rung.CONTIGUOUS, own, repository, backup).passed


def test_without_canaries_it_is_not_run_and_not_passed(own: Settings, repository: Repository, tmp_path: Path) -> None:
    prefix = repository.layout.canaries
    kept = {found.key: repository.store.get(found.key) for found in repository.store.objects(prefix)}
    repository.store.delete(kept)
    try:
        done = ops_here(own, tmp_path, "verify", "--rung", "exact", "--again")
        assert done.code == 1
        assert "no two canaries" in done.err
    finally:
        for key, content in kept.items():
            repository.store.put(key, content)


def test_a_drill_makes_status_know_more(own: Settings, tmp_path: Path) -> None:
    page = tmp_path / "drill.html"
    done = ops_here(own, tmp_path, "drill", "--report", page, "--json")
    assert done.code == 0, done
    checks = {check["name"]: check["passed"] for check in json.loads(done.out)["checks"]}
    assert checks == {"rto": True, "rpo": True, "booted": True, "exact": True, "sound": True, "smoke": None}
    assert "The drill passed" in page.read_text()
    status = json.loads(ops_here(own, tmp_path, "status", "--json").out)
    assert status["rto_forecast"]["drills"] == 1
    assert status["last_drill"]["passed"] is True
    missed = ops_here(own.model_copy(update={"rto_objective_seconds": 0.01}), tmp_path, "drill")
    assert missed.code == 1


def test_a_record_that_is_damaged_is_a_finding(own: Settings, repository: Repository, tmp_path: Path) -> None:
    lost = take_backup(own)
    change(repository, repository.layout.backup(lost.id, "backup.json"), flipped)
    done = ops_here(own, tmp_path, "verify", "--backup", "all", "--rung", "stored")
    assert done.code == 1
    assert f"{lost.id}  ?" in done.err
    newest = ops_here(own, tmp_path, "verify", "--rung", "stored")
    assert newest.code == 1
    assert f"{lost.id}  ?" in newest.err
    assert ops_here(own, tmp_path, "verify", "--backup", repository.find("latest").id, "--rung", "stored").code == 0
    status = json.loads(ops_here(own, tmp_path, "status", "--json").out)
    assert any(lost.id in problem for problem in status["problems"])


def test_a_backup_that_is_damaged_leaves_the_turn_to_another(own: Settings, repository: Repository) -> None:
    shown, other = repository.find("latest"), take_backup(own)
    repository.store.delete([found.key for found in repository.store.objects(repository.layout.proofs(shown.id))])
    key = repository.layout.backup(other.id, named(other, "base.tar"))
    change(repository, key, flipped)
    verified = verify_backups(own, Rung.STORED, Rung.CHECKSUMMED)
    states = {backup_id: stands.states[Rung.CHECKSUMMED] for backup_id, stands in verified.standings.items()}
    assert states == {shown.id: State.PASSED, other.id: State.NOT_RUN}
    assert [fault for fault in verified.faults if other.id in fault]
