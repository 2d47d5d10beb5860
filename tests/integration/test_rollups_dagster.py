"""Rollups as Dagster runs them: the hourly job, a backfill from the UI, and checks that can fail."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from pydantic import SecretStr

from ops_workflows.analytics.defs import RollUpConfig, query_stats_checks, query_stats_daily, query_stats_hourly
from ops_workflows.analytics.rollup import roll_up_due
from ops_workflows.definitions import defs
from ops_workflows.local.seed import seed
from ops_workflows.schema.apply import migrate_up
from ops_workflows.settings import Settings
from tests.support.command import as_environment
from tests.support.schema import MIGRATIONS, Database, own_database, rows

BASE = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.fixture
def database(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    with own_database(settings) as made:
        migrate_up(made.owner, MIGRATIONS)
        seed(made.owner, rows=400, seed=1, base=BASE)
        own = settings.model_copy(update={"upkeep_dsn": SecretStr(made.upkeep)})
        for name, value in as_environment(own).items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        yield made


def run(instance: dg.DagsterInstance) -> dict[tuple[str, str], bool]:
    """The hourly job; what its checks came to."""
    assert defs.resolve_job_def("rollup_query_analytics").execute_in_process(instance=instance).success
    keys = defs.get_repository_def().asset_graph.asset_check_keys
    own = {key for key in keys if key.asset_key.to_user_string().startswith("query_stats")}
    found = instance.event_log_storage.get_latest_asset_check_execution_by_key(list(own))
    succeeded = AssetCheckExecutionRecordStatus.SUCCEEDED
    return {(key.asset_key.to_user_string(), key.name): each.status is succeeded for key, each in found.items()}


def test_the_job_rolls_up_what_is_due_as_partitions_and_its_checks_pass(database: Database) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        checks = run(instance)
        assert len(checks) == 6
        assert all(checks.values())
        known = instance.get_materialized_partitions(query_stats_daily.key)
        assert known == {f"{BASE - timedelta(days=number):%Y-%m-%d}" for number in range(1, 61)}
        hours = instance.get_materialized_partitions(query_stats_hourly.key)
        assert rows(database.upkeep, "select count(distinct period) from ops.query_stats_hourly") == [(len(hours),)]
    assert query_stats_hourly.partitions_def is not None
    assert all(query_stats_hourly.partitions_def.has_partition_key(key) for key in hours)


def test_what_cannot_be_mended_fails_the_check_of_counts(database: Database) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        run(instance)
        rows(
            database.owner,
            "delete from query_log where id = (select id from query_log where date_trunc('hour', created_at) = "
            "(select period from ops.query_stats_periods where raw_rows > 1 and grain = 'hour' limit 1) limit 1) "
            "returning pg_stat_force_next_flush()",
        )
        for _ in range(2):  # it is not forgotten, though nothing is written any more
            failed = {key for key, passed in run(instance).items() if not passed}
            assert failed == {("query_stats_hourly", "counts_reconcile")}


def test_late_rows_that_a_check_sees_before_a_rollup_are_a_warning(database: Database) -> None:
    roll_up_due(database.upkeep)
    rows(database.owner, "insert into query_log (query_type, created_at) values ('tithi', '2026-04-20') returning 1")
    checks = dg.materialize(
        [query_stats_hourly, query_stats_daily, query_stats_checks],
        selection=dg.AssetSelection.checks(query_stats_checks),
    ).get_asset_check_evaluations()
    unlike = [(each.asset_key, each.check_name, each.severity) for each in checks if not each.passed]
    assert unlike == [(query_stats_hourly.key, "counts_reconcile", dg.AssetCheckSeverity.WARN)]


def test_bins_that_do_not_fit_the_rows_fail_the_check_of_percentiles(database: Database) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        run(instance)
        rows(
            database.owner,
            "update ops.query_stats_daily set latency_bins = (select array_agg(bin + 5) from unnest(latency_bins) bin) "
            "returning 1",
        )
        failed = {key for key, passed in run(instance).items() if not passed}
    assert failed == {("query_stats_daily", "percentiles_agree")}


def test_a_backfill_of_a_day_makes_its_hours_and_the_day_in_one_run_each(database: Database) -> None:
    day = f"{BASE - timedelta(days=2):%Y-%m-%d}"
    with dg.DagsterInstance.ephemeral() as instance:
        for asset, first, last in ((query_stats_hourly, f"{day}-00:00", f"{day}-23:00"), (query_stats_daily, day, day)):
            tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
            assert dg.materialize(
                [query_stats_hourly, query_stats_daily], selection=[asset], instance=instance, tags=tags
            ).success
        assert len(instance.get_materialized_partitions(query_stats_hourly.key)) == 24
    assert rows(database.upkeep, "select sum(queries)::int from ops.query_stats_daily") == rows(
        database.upkeep, f"select count(*)::int from query_log where (created_at at time zone 'UTC')::date = '{day}'"
    )


def test_a_backfill_without_a_bound_is_refused() -> None:
    keys = dg.PartitionKeyRange("2025-01-01-00:00", "2026-04-01-00:00")
    context = dg.build_asset_context(partition_key_range=keys)
    with pytest.raises(dg.Failure, match="10,921 periods are too many"):
        query_stats_hourly(context, RollUpConfig())


def test_the_checks_can_be_run_by_themselves(database: Database) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        run(instance)
        checks = dg.materialize(
            [query_stats_hourly, query_stats_daily, query_stats_checks],
            instance=instance,
            selection=dg.AssetSelection.checks(query_stats_checks),
        ).get_asset_check_evaluations()
    assert [each.passed for each in checks] == [True] * 6


def test_the_schedule_is_at_five_past_each_hour() -> None:
    schedule = defs.resolve_schedule_def("rollup_query_analytics_at_5_past")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("5 * * * *", "UTC")
    assert schedule.job_name == "rollup_query_analytics"
