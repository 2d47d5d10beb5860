"""The asset `logical_backup`, as Dagster materializes it."""

from pathlib import Path

import dagster as dg
import pytest

from ops_workflows.backup.defs import logical_backup
from ops_workflows.repository.catalogue import open_repository
from ops_workflows.repository.dumps import Dumps
from ops_workflows.settings import Settings
from tests.support.command import as_environment
from tests.support.servers import scratch_server


def test_a_dump_leaves_its_figures(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with scratch_server() as server:
        with server.connect() as connection:
            connection.execute("CREATE TABLE t AS SELECT generate_series(1, 10) AS n")
        own = server.settings(settings)
        for name, value in as_environment(own).items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        with dg.DagsterInstance.ephemeral() as instance:
            done = dg.materialize([logical_backup], instance=instance)
        (event,) = done.asset_materializations_for_node("logical_backup")
        (dump,) = Dumps(open_repository(own, server.system)).all()
    assert event.metadata["dump_id"].value == dump.id
    assert event.metadata["rows"].value == 10
    assert event.metadata["stored_bytes"].value == dump.stored_bytes
    assert event.metadata["left_out"].value == "nothing"
