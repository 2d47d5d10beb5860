"""What Dagster is told of a verification where somebody asks for one of its checks alone."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from ops_workflows.backup.take import take_backup
from ops_workflows.backup.wal_receiver import catch_up
from ops_workflows.proof.defs import backup_proof, restore_drill
from ops_workflows.settings import Settings
from tests.support.command import as_environment
from tests.support.servers import scratch_server, with_heartbeats


@pytest.fixture(scope="module")
def backed_up(settings: Settings) -> Iterator[Settings]:
    with scratch_server() as server:
        with_heartbeats(server)
        own = server.settings(settings, scratch_dir=server.folder / "scratch")
        take_backup(own)
        catch_up(own, 60)
        yield own


@pytest.mark.parametrize(
    ("asset", "check"), [(backup_proof, "all_proved"), (restore_drill, "booted")], ids=["verification", "drill"]
)
def test_a_check_alone_is_all_that_is_said(
    backed_up: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asset: dg.AssetsDefinition, check: str
) -> None:
    for name, value in as_environment(backed_up).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    alone = dg.AssetSelection.checks(dg.AssetCheckKey(asset.key, check))
    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize([asset], selection=alone, instance=instance)
    assert [(each.check_name, each.passed) for each in done.get_asset_check_evaluations()] == [(check, True)]
    assert not done.get_asset_materialization_events()
