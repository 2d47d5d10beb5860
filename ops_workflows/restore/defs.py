"""Restores as Dagster sees them: the job that brings the database back where it stood."""

from pathlib import Path

import dagster as dg
from pydantic import Field

from ops_workflows.progress import Logged
from ops_workflows.settings import Settings


class RestoreConfig(dg.Config):
    """What to restore, and the word without which nothing is done."""

    to: str = Field(
        default="latest",
        description="latest, a time with its zone, an LSN, or name:RESTORE_POINT: the moment to go to.",
    )
    backup_id: str | None = Field(
        default=None, description="The backup to begin with, from `ops backups`. Left out: the best."
    )
    confirm: str = Field(
        default="",
        description="Type the database's name to carry the plan out. Empty: the plan is shown in the log, nothing is "
        "done, and the run fails, for nothing was restored.",
    )


@dg.op(description="Restore beside the old data directory, verify, then move both; the old one is kept.")
def restore_where_it_stood(context: dg.OpExecutionContext, config: RestoreConfig) -> None:
    """Show the plan; with the database's name typed, carry it out."""
    from ops_workflows.repository.catalogue import open_repository
    from ops_workflows.restore.in_place import restore_in_place
    from ops_workflows.restore.in_place_plan import plan_in_place
    from ops_workflows.restore.moment import parse_moment

    settings = Settings.read()
    moment, data_dir = parse_moment(config.to), Path(settings.require("primary_data_dir"))
    repository = open_repository(settings)
    plan = plan_in_place(settings, repository, data_dir, moment, config.backup_id)
    context.log.info("\n".join(plan.describe()))
    done = restore_in_place(settings, repository, plan, config.confirm, Logged(context.log))
    context.log.info(f"{done} is ready: start the server, and rebuild its standbys.")


@dg.job(
    executor_def=dg.in_process_executor,
    description="Bring the database back in place, to any moment. Shows its plan; demands the database's name typed.",
    tags={"dagster/max_runtime": 4 * 3600},
)
def restore_database() -> None:
    """The job of one op."""
    restore_where_it_stood()


defs = dg.Definitions(jobs=[restore_database])
