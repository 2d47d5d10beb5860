"""Continuous protection as Dagster sees it: the sensor that reports without a run, and the job that catches up."""

from collections.abc import Iterator

import dagster as dg
import pytest

from ops_workflows.backup.defs import wal_archive_position
from ops_workflows.backup.take import take_backup
from ops_workflows.definitions import defs as definitions
from ops_workflows.repository.catalogue import open_repository
from ops_workflows.settings import Settings
from tests.support.command import as_environment
from tests.support.continuous import SEGMENT, caught_up, receiving, wal_listing, write_wal
from tests.support.servers import ScratchServer, scratch_server


@pytest.fixture(scope="module")
def server() -> Iterator[ScratchServer]:
    with scratch_server() as made:
        yield made


@pytest.fixture
def own(server: ScratchServer, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    made = server.settings(settings, wal_flush_seconds=0.2)
    for name, value in as_environment(made).items():
        monkeypatch.setenv(name, value)
    return made


def tick() -> dg.SensorResult:
    with dg.instance_for_test() as instance:
        result = wal_archive_position(dg.build_sensor_context(instance))
    assert isinstance(result, dg.SensorResult)
    return result


def test_while_it_is_received_the_asset_is_materialized(server: ScratchServer, own: Settings) -> None:
    with receiving(own, server):
        take_backup(own)
        caught_up(server)
        result = tick()
    assert result.run_requests == []
    (event,) = result.asset_events
    assert isinstance(event, dg.AssetMaterialization)
    assert event.asset_key == dg.AssetKey("wal_archive")
    known = {name: value.value for name, value in event.metadata.items()}
    assert known["receiving"] is True
    assert known["missing"] == "nothing"
    assert {"position", "lag_bytes", "lag_seconds", "window_start", "window_end"} <= known.keys()


def test_while_nobody_receives_it_is_only_observed(server: ScratchServer, own: Settings) -> None:
    with receiving(own, server):
        take_backup(own)
        caught_up(server)
    (event,) = tick().asset_events
    assert isinstance(event, dg.AssetObservation)


def test_a_gap_behind_the_newest_backup_asks_for_a_new_one(server: ScratchServer, own: Settings) -> None:
    with receiving(own, server):
        take_backup(own)
        for _ in range(3):
            write_wal(server, SEGMENT)
        caught_up(server)
        repository = open_repository(own, server.system)
        lost = [piece.key for piece in wal_listing(repository).pieces if piece.whole][-2]
        repository.store.delete([lost])
        (request,) = tick().run_requests or []
    assert request.run_key is not None
    assert request.run_key.startswith("gap-1-")


def test_the_job_catches_up(server: ScratchServer, own: Settings) -> None:
    take_backup(own)
    write_wal(server, SEGMENT)
    assert definitions.resolve_job_def("archive_wal").execute_in_process().success
    repository = open_repository(own, server.system)
    assert wal_listing(repository).ranges()
    caught_up(server, timeout=1)
