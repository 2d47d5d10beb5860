"""A thousand kills: what the ordinary tests do twenty times. OPS_SOAK_KILLS changes the number."""

import os
from pathlib import Path

import pytest

from ops_workflows.backup.take import take_backup
from ops_workflows.restore.moment import Latest
from ops_workflows.settings import Settings
from tests.support.continuous import Traffic, caught_up, kill_again_and_again, receiving, repository_of, rows_at
from tests.support.servers import reachable_folder, scratch_server

KILLS = int(os.environ.get("OPS_SOAK_KILLS", "1000"))
ROUND = 50  # kills between two restores


@pytest.mark.timeout(4 * 3600)
def test_killed_a_thousand_times(settings: Settings, tmp_path: Path) -> None:
    with scratch_server() as server:
        own = server.settings(settings, wal_flush_seconds=0.2)
        traffic = Traffic(server.dsn("postgres"))
        traffic.prepare()
        with receiving(own, server):
            take_backup(own)
        for number in range(0, KILLS, ROUND):
            with traffic.running():
                kill_again_and_again(server, own, tmp_path, min(ROUND, KILLS - number), seed=number)
            with receiving(own, server):
                caught_up(server)
                take_backup(own)  # so that restores stay short
            with reachable_folder() as folder:
                assert traffic.ids() <= rows_at(own, repository_of(own, server), Latest(), folder / "data"), number
