"""The application's tables as Dagster sees them: the asset, a check for each kind of trouble, and the daily look."""

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import dagster as dg

from ops_workflows.settings import Settings
from ops_workflows.wording import as_markdown

if TYPE_CHECKING:
    from ops_workflows.tables.findings import Outcome

_CHECKS = {
    "no_bloat": "Of no table or btree index more is dead or free than OPS_TABLES_MOST_BLOAT.",
    "few_dead_rows": "No table has twice as many dead rows as autovacuum waits for.",
    "autovacuum_gets_through": "Autovacuum is on, comes within a day to what is due, ends within six hours, and no old "
    "transaction, replication slot or standby keeps it from cleaning up.",
    "sequences_have_room": "No sequence has used more of its numbers, or of those that its column holds, than "
    "OPS_TABLES_MOST_OF_SEQUENCE.",
    "no_unused_index": "Each index from 1 MiB on that nothing rests on was used within OPS_TABLES_UNUSED_DAYS.",
    "no_duplicate_index": "No index does only what another one of the same table does.",
    "analyzed": "Each table from 1,000 rows on was analyzed, the partitioned ones too, which autovacuum leaves out.",
}


@dg.asset(
    group_name="tables",
    kinds={"postgres"},
    owners=["team:database"],
    freshness_policy=dg.FreshnessPolicy.cron(
        deadline_cron="0 6 * * *", lower_bound_delta=timedelta(minutes=30), timezone="UTC"
    ),
    check_specs=[
        dg.AssetCheckSpec(name, asset="application_tables", description=said) for name, said in _CHECKS.items()
    ],
    description="The application's tables, indexes and sequences as the server's statistics know them: looked at, and "
    "left as they are.",
)
def application_tables() -> Iterator[dg.MaterializeResult[None]]:
    """Look, and tell what will be trouble; what could not be seen counts as not passed."""
    from ops_workflows.tables.findings import Verdict
    from ops_workflows.tables.look import look

    found = look(Settings.read())
    yield dg.MaterializeResult(
        metadata={
            "tables": found.tables,
            "indexes": found.indexes,
            "sequences": found.sequences,
            "table_bytes": found.table_bytes,
            "index_bytes": found.index_bytes,
            "dead_rows": found.dead_rows,
        },
        check_results=[
            dg.AssetCheckResult(
                check_name=outcome.kind.value,
                passed=outcome.verdict is Verdict.OK,
                severity=dg.AssetCheckSeverity.WARN,
                description=outcome.said,
                metadata={**outcome.figures, "verdict": outcome.verdict.value, "worst": _worst(outcome)},
            )
            for outcome in found.outcomes
        ],
    )


def _worst(outcome: "Outcome") -> dg.MarkdownMetadataValue:
    from ops_workflows.tables.findings import WORST

    rows = ((each.verdict.value, each.what, each.said, each.do) for each in outcome.findings[:WORST])
    return dg.MetadataValue.md(as_markdown(("verdict", "of", "finding", "to do"), rows))


inspect_tables = dg.define_asset_job(
    "inspect_tables",
    selection=dg.AssetSelection.assets(application_tables),
    description="Look for bloat, vacuums that do not get through, sequences near their end, idle and superfluous "
    "indexes, and missing statistics. Nothing is changed.",
    executor_def=dg.in_process_executor,
    tags={"dagster/max_runtime": 900},
)

daily_look = dg.ScheduleDefinition(
    name="inspect_tables_at_05_40",
    job=inspect_tables,
    cron_schedule="40 5 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every day at 05:40 UTC, when the night's work is done.",
)

defs = dg.Definitions(assets=[application_tables], jobs=[inspect_tables], schedules=[daily_look])
