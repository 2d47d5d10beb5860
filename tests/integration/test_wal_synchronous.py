"""RPO 0: a commit returns once its WAL is in the bucket, waits while the bucket is away, and is never lost."""

import shutil
from collections.abc import Iterator

import pytest

from ops_workflows.backup.take import take_backup
from ops_workflows.backup.wal_status import wal_status
from ops_workflows.postgres.processes import wait_until
from ops_workflows.repository.catalogue import open_repository
from ops_workflows.restore.moment import Latest
from ops_workflows.settings import Settings
from tests.support.continuous import Traffic, receiving, rows_at, server_end, slot_at
from tests.support.proxy import proxy_to
from tests.support.servers import ScratchServer, reachable_folder, scratch_server


@pytest.fixture
def server(stack: object) -> Iterator[ScratchServer]:
    with scratch_server() as made:
        Traffic(made.dsn("postgres")).prepare()
        yield made


def wait_for_the_bucket(server: ScratchServer) -> None:
    """Let commits wait from now on."""
    with server.connect() as connection:
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'ops_wal'")
        connection.execute("SELECT pg_reload_conf()")
        query = "SELECT FROM pg_stat_replication WHERE application_name = 'ops_wal' AND sync_state = 'sync'"
        assert wait_until(lambda: connection.execute(query).rowcount == 1, 30)


def destroy(server: ScratchServer) -> None:
    """The primary's data directory is gone, under load."""
    shutil.rmtree(server.server.data_dir, ignore_errors=True)
    server.server.stop("immediate", timeout=1)
    shutil.rmtree(server.server.data_dir, ignore_errors=True)


def test_every_acknowledged_row_survives_the_primary(server: ScratchServer, settings: Settings) -> None:
    own = server.settings(settings, wal_flush_seconds=0)
    with receiving(own, server):
        take_backup(own)
        wait_for_the_bucket(server)
        assert "synchronous" in wal_status(own).receiver
        with Traffic(server.dsn("postgres")).running() as traffic:
            traffic.more(40)
            destroy(server)
    with reachable_folder() as folder:
        there = rows_at(own, open_repository(own), Latest(), folder / "data")
    assert traffic.ids() <= there


def test_without_it_all_that_is_older_than_the_lag_survives(server: ScratchServer, settings: Settings) -> None:
    own = server.settings(settings, wal_flush_seconds=0.5)
    with receiving(own, server):
        take_backup(own)
        with Traffic(server.dsn("postgres")).running() as traffic:
            traffic.more(200)
            end, safe = server_end(server), slot_at(server)
            destroy(server)
    assert end - safe < 2**20  # bytes of lag: half a second of this traffic
    with reachable_folder() as folder:
        there = rows_at(own, open_repository(own), Latest(), folder / "data")
    assert traffic.until(safe) <= there


def test_commits_wait_while_the_bucket_is_away(server: ScratchServer, settings: Settings) -> None:
    own = server.settings(settings, wal_flush_seconds=0, s3_timeout_seconds=3, s3_attempts=2)
    with proxy_to(own.require("s3_endpoint_url")) as proxy:
        through = own.model_copy(update={"s3_endpoint_url": f"http://127.0.0.1:{proxy.port}"})
        with receiving(through, server) as receiver:
            take_backup(own)
            wait_for_the_bucket(server)
            with Traffic(server.dsn("postgres")).running() as traffic:
                traffic.more(10)
                proxy.cut()
                assert wait_until(lambda: any("WAL waits in the slot" in said for said in receiver.heard.sentences), 30)
                stands_at = len(traffic.acknowledged)
                assert not wait_until(lambda: len(traffic.acknowledged) > stands_at, 3)
                proxy.mend()
                traffic.more(10)
            assert receiver.errors == []
            with server.connect() as connection:
                connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
                connection.execute("SELECT pg_reload_conf()")
