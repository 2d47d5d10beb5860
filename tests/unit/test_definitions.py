"""All that Dagster sees is there, explained and watched."""

import importlib
import json
import os
import pkgutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

import ops_workflows
from ops_workflows.definitions import defs
from ops_workflows.repository.rungs import Rung

SLOW = ("boto3", "botocore", "psycopg", "kubernetes", "psycopg_binary", "rich", "typer", "matplotlib")


def domains() -> list[str]:
    return [
        f"ops_workflows.{package.name}.defs"
        for package in pkgutil.iter_modules(ops_workflows.__path__)
        if package.ispkg and importlib.util.find_spec(f"ops_workflows.{package.name}.defs")
    ]


def test_nothing_slow_is_imported() -> None:
    ours, dagsters = slow_modules_after("ops_workflows.definitions"), slow_modules_after("dagster")
    assert ours == dagsters


def slow_modules_after(module: str) -> str:
    code = f"import sys, {module}; print([name for name in {SLOW!r} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.mark.parametrize("domain", domains())
def test_everything_that_is_defined_is_in_defs(domain: str) -> None:
    module = importlib.import_module(domain)
    found = vars(module).values()
    repository = defs.get_repository_def()
    jobs = {job.name for job in repository.get_all_jobs()}
    for each in found:
        if isinstance(each, dg.ScheduleDefinition):
            assert repository.has_schedule_def(each.name)
        elif isinstance(each, dg.SensorDefinition):
            assert repository.has_sensor_def(each.name)
        elif isinstance(each, dg.AssetChecksDefinition):
            assert each.check_keys <= repository.asset_graph.asset_check_keys
        elif isinstance(each, dg.AssetsDefinition):
            assert each.keys <= repository.asset_graph.get_all_asset_keys()
        elif type(each).__name__ in {"JobDefinition", "UnresolvedAssetJobDefinition"}:
            assert each.name in jobs  # type: ignore[attr-defined]


def test_every_domain_is_merged() -> None:
    merged = {spec.group_name for spec in defs.resolve_all_asset_specs()}
    assert {domain.split(".")[1] for domain in domains()} >= merged
    assert {"backup", "proof"} <= merged


def test_every_asset_is_described_owned_and_watched() -> None:
    for spec in defs.resolve_all_asset_specs():
        assert spec.description, spec.key
        assert spec.owners, spec.key
        assert spec.kinds, spec.key
        assert spec.group_name not in {None, "default"}, spec.key
        assert spec.freshness_policy is not None, spec.key


_WINDOWS = """
import json
from ops_workflows.definitions import defs

policies = {spec.key.to_user_string(): spec.freshness_policy for spec in defs.resolve_all_asset_specs()}
windows = {name: getattr(policy, "fail_window", None) for name, policy in policies.items() if policy}
print(json.dumps({name: window and window.to_timedelta().total_seconds() for name, window in windows.items()}))
"""


def loaded(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """The definitions as another process loads them: by asset, in seconds, the window of its policy, if it has one."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OPS_")}
    env = clean | variables | {"PYTHONPATH": str(Path(ops_workflows.__file__).parents[1])}
    command = [sys.executable, "-c", _WINDOWS]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=folder, env=env)


@pytest.mark.parametrize(("objective", "window"), [("7200", 7200), ("20", 60)])
def test_the_log_goes_stale_with_its_objective(tmp_path: Path, objective: str, window: int) -> None:
    """But no sooner than Dagster can tell."""
    assert json.loads(loaded(tmp_path, OPS_RPO_OBJECTIVE_SECONDS=objective).stdout)["wal_archive"] == window


def test_of_what_is_promised_never_to_be_there_nothing_goes_stale(tmp_path: Path) -> None:
    watched = json.loads(loaded(tmp_path, OPS_BACKUP_METHOD="dumps").stdout)
    assert "logical_backup" in watched
    assert not watched.keys() & {"base_backup", "wal_archive", "backup_proof", "restore_drill"}


def test_a_setting_that_cannot_be_used_is_named_in_one_sentence(tmp_path: Path) -> None:
    done = loaded(tmp_path, OPS_RPO_OBJECTIVE_SECONDS="s3cret")
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ops_workflows.errors.ConfigurationError: OPS_RPO_OBJECTIVE_SECONDS cannot be used: ")
    assert "s3cret" not in done.stderr


def test_every_job_schedule_sensor_and_check_is_described() -> None:
    repository = defs.get_repository_def()
    jobs = [job for job in repository.get_all_jobs() if not job.name.startswith("__")]
    assert {"nightly_backup", "restore_drill"} <= {job.name for job in jobs}
    for each in [*jobs, *repository.schedule_defs, *repository.sensor_defs]:
        assert each.description, each.name
    for key in repository.asset_graph.asset_check_keys:
        assert repository.asset_graph.get_check_spec(key).description, key


def test_no_job_can_run_for_ever() -> None:
    for job in defs.get_repository_def().get_all_jobs():
        if not job.name.startswith("__"):
            assert int(job.tags["dagster/max_runtime"]) > 0, job.name


def test_the_nightly_backup_runs_at_two_by_default() -> None:
    schedule = defs.resolve_schedule_def("nightly_backup_at_02_00")
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 2 * * *", "UTC")
    assert schedule.job_name == "nightly_backup"
    with dg.instance_for_test() as instance:
        context = dg.build_schedule_context(instance, scheduled_execution_time=datetime(2026, 1, 31, 2, tzinfo=UTC))
        (request,) = schedule.evaluate_tick(context).run_requests or []
    assert request.job_name in {None, "nightly_backup"}


def test_all_rungs_but_the_last_are_climbed_at_night() -> None:
    graph = defs.resolve_job_def("nightly_backup").asset_layer.asset_graph
    names = {key.name for key in graph.asset_check_keys}
    assert {rung.value for rung in Rung.EXACT.below()} <= names
