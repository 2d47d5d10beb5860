"""One record that is damaged: said by all that look, in the way of nobody who can do without it, and never deleted."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from ops_workflows.backup.defs import base_backup
from ops_workflows.backup.policy import Kind
from ops_workflows.backup.take import take_backup
from ops_workflows.repository.backup import Backup
from ops_workflows.repository.catalogue import Repository, open_repository
from ops_workflows.repository.layout import RECORD
from ops_workflows.settings import Settings
from tests.support.bucket import backup_keys, change
from tests.support.command import as_environment, ops_here
from tests.support.servers import ScratchServer, reachable_folder, scratch_server


@pytest.fixture(scope="module")
def server(stack: object) -> Iterator[ScratchServer]:
    with scratch_server(summarize_wal="on") as made:
        yield made


@pytest.fixture
def own(server: ScratchServer, settings: Settings) -> Settings:
    return server.settings(settings, backup_count_rows=False)


@pytest.fixture
def repository(own: Settings, server: ScratchServer) -> Repository:
    return open_repository(own, server.system)


@pytest.fixture
def folder() -> Iterator[Path]:
    with reachable_folder() as made:
        yield made


def taken_later(own: Settings, kind: Kind = Kind.FULL) -> Backup:
    """A backup with an id that sorts after those before it, which within a second chance decides."""
    time.sleep(1.1)
    return take_backup(own, kind=kind)


def damage(repository: Repository, backup: Backup) -> str:
    """Cut its record short; the beginning of what is said of it from then on."""
    key = repository.layout.backup(backup.id, RECORD)
    change(repository, key, lambda content: content[:200])
    return f"Backup {backup.id} cannot be used: {key} cannot be read"


def test_an_old_one_is_said_and_holds_up_neither_backups_nor_restores(
    own: Settings, repository: Repository, folder: Path
) -> None:
    old, good = take_backup(own), taken_later(own)
    said = damage(repository, old)
    before = backup_keys(own)

    listed = ops_here(own, folder, "backups")
    assert listed.code == 1
    assert [line.split()[0] for line in listed.out.splitlines()[1:]] == [good.id, old.id]
    assert "damaged" in listed.out.splitlines()[-1]
    assert said in listed.err
    listed = ops_here(own, folder, "backups", "--json")
    assert listed.code == 1
    readable, unreadable = json.loads(listed.out)
    assert (readable["id"], readable["unusable"]) == (good.id, None)
    assert unreadable.keys() == {"id", "unusable"}
    assert unreadable["unusable"].startswith(said)

    for number, choice in enumerate([(), ("--backup", "latest"), ("--to", "latest")]):
        done = ops_here(own, folder, "restore", "--target-dir", folder / f"data{number}", *choice)
        assert done.code == 0, done
        assert said in done.err
        assert good.id in done.err
    refused = ops_here(own, folder, "restore", "--target-dir", folder / "data", "--backup", old.id)
    assert refused.code == 1
    assert refused.sentence.startswith(said)
    refused = ops_here(own, folder, "retention")
    assert refused.code == 1
    assert f"Nothing is let go while something in the bucket cannot be understood: {said}" in refused.sentence

    taken = ops_here(own, folder, "backup", "--kind", "incremental")
    assert taken.code == 0, taken
    assert said in taken.err
    assert f"This backup is incremental to {good.id}" in taken.err
    assert set(before) < set(backup_keys(own))  # what is damaged is no debris


def test_where_it_is_one_to_build_on_the_next_is_full_and_a_chain_that_has_it_is_not_restored(
    own: Settings, repository: Repository, folder: Path
) -> None:
    full = take_backup(own)
    child = taken_later(own, Kind.INCREMENTAL)
    said = damage(repository, full)
    builds_on_it = f"Backup {child.id} cannot be used: it builds on {full.id}."
    target = ("--target-dir", folder / "data")
    refused = ops_here(own, folder, "restore", *target)
    assert refused.code == 1
    assert refused.sentence.startswith(said)
    refused = ops_here(own, folder, "restore", *target, "--backup", child.id)
    assert refused.code == 1
    assert refused.sentence.startswith(f"Backup {child.id} is incremental to {full.id}. {said}")
    assert not (folder / "data").exists()

    taken = ops_here(own, folder, "backup", "--kind", "incremental")
    assert taken.code == 0, taken
    why = f"the record of backup {full.id}, which {child.id} builds on, cannot be read"
    assert f"This backup is full: {why}." in taken.err
    listed = ops_here(own, folder, "backups")
    assert listed.code == 1
    assert builds_on_it in listed.err
    assert "cannot be used" in next(line for line in listed.out.splitlines() if line.startswith(child.id))
    done = ops_here(own, folder, "restore", *target)
    assert done.code == 0, done
    assert said in done.err
    assert builds_on_it in done.err


def test_the_nightly_goes_on_in_full_where_the_newest_is_damaged(
    own: Settings, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_backup(own)
    said = damage(repository, taken_later(own))
    for name, value in as_environment(own).items():
        monkeypatch.setenv(name, value)
    done = dg.materialize([base_backup])  # what the nightly does; the proofs come after it
    assert done.success
    (made,) = done.get_asset_materialization_events()
    assert made.materialization.metadata["builds_on"].value == "nothing: it is full"
    assert len(repository.backups()) == 2
    (known,) = repository.catalogue().damaged.values()
    assert known.startswith(said)
