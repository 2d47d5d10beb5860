"""The job `restore_database`, as Dagster runs it: nothing without the name, and the database back with it."""

from pathlib import Path

import dagster as dg
import pytest

from ops_workflows.restore.defs import restore_database
from ops_workflows.settings import Settings
from tests.support.command import as_environment
from tests.support.lived import lived_server


def test_nothing_without_the_name(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with lived_server(settings) as lived:
        for name, value in as_environment(lived.settings).items():
            monkeypatch.setenv(name, value)
        place = str(lived.place)
        for config, reason in (
            ({"to": place}, "type the database's name, postgres, to confirm"),
            ({"to": place, "confirm": "panchangam"}, "type the database's name, postgres, to confirm"),
            ({"to": "", "confirm": "postgres"}, "'' is no moment"),
            ({"to": place, "backup_id": "", "confirm": "postgres"}, "'' is no backup id"),
        ):
            success, said = carried_out(config)
            assert not success
            assert reason in said
            assert ("restore database postgres in place" in said) == ("to confirm" in reason)
            assert lived.names() == {"data"}
            assert lived.rows() == lived.all
        success, said = carried_out({"to": place, "confirm": "postgres"})
        assert success, said
        assert f"{lived.data_dir} is ready: start the server" in said
        assert lived.started() == lived.early
        assert lived.put_back() == lived.all


def carried_out(config: dict[str, str]) -> tuple[bool, str]:
    """Whether the job succeeded, and what it said and failed with."""
    with dg.DagsterInstance.ephemeral() as instance:
        done = restore_database.execute_in_process(
            run_config={"ops": {"restore_where_it_stood": {"config": config}}}, instance=instance, raise_on_error=False
        )
        events = instance.all_logs(done.run_id)
        failed = [event.step_failure_data.error for event in done.filter_events(lambda event: event.is_step_failure)]
    return done.success, "\n".join([*(event.user_message for event in events), *(f"{error}" for error in failed)])
