"""`make demo`: everything once, for real, and a table of what was measured."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from ops_workflows.backup.wal_status import WalStatus, wal_status
from ops_workflows.local.dagster_processes import run_job
from ops_workflows.local.prepare import prepare
from ops_workflows.local.stack import left_as_found
from ops_workflows.local.traffic import traffic
from ops_workflows.repository.backup import Backup
from ops_workflows.repository.catalogue import open_repository
from ops_workflows.repository.proofs import Proof, newest
from ops_workflows.schema.apply import remembered
from ops_workflows.schema.gate_record import Gate
from ops_workflows.settings import Settings

_TRAFFIC_SECONDS = 4.0
_JOB_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Shown:
    """What the demo made: a backup, what was shown about it, how far the log in the bucket is, and a migration."""

    backup: Backup
    proofs: dict[str, Proof]
    wal: WalStatus
    gate: Gate | None


def demo(folder: Path, *, rows: int, keep: bool, report: Callable[[str], None]) -> Shown:
    """Stack, schema, data; through Dagster `nightly_backup`, `restore_drill`, and one migration by `migrate_database`.

    Then the stack goes down, unless it is to be kept or ran before.

    Raises:
        OpsError: A step failed.
    """
    with nullcontext() if keep else left_as_found(folder, report):
        settings = prepare(folder, rows=rows, report=report, leave=1)
        sent = traffic(settings, rate=50, seconds=_TRAFFIC_SECONDS)
        report(f"Sent {sent.reads + sent.writes:,} statements and {sent.heartbeats} heartbeats.")
        for job in ("nightly_backup", "restore_drill", "migrate_database"):
            report(f"Running `dagster job execute -m ops_workflows.definitions -j {job}` …")
            began = time.monotonic()
            log = run_job(folder, job, _JOB_SECONDS)
            report(f"  done in {time.monotonic() - began:.1f} s; its log is {log.relative_to(folder)}")
        return _found(settings)


def _found(settings: Settings) -> Shown:
    # From the bucket, as anybody would find it: Dagster's own memory is only a mirror of it.
    repository = open_repository(settings)
    backup = repository.find("latest")
    proofs = newest(repository, [backup.id])[backup.id]
    return Shown(backup, proofs, wal_status(settings), remembered(settings.require("owner_dsn"))[1])
