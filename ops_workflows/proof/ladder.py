"""Climbing: try one rung for one backup, and write down in the bucket what came of it."""

import time

from ops_workflows.progress import SILENT, Progress
from ops_workflows.proof.booted import booted
from ops_workflows.proof.checksummed import checksummed
from ops_workflows.proof.rungs import Climb, Rung
from ops_workflows.proof.stored import stored
from ops_workflows.repository.backup import Backup, utc_now
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.proofs import Proof, record
from ops_workflows.settings import Settings


def climb(rung: Rung, settings: Settings, repository: Repository, backup: Backup, progress: Progress = SILENT) -> Climb:
    """Try a rung and record the attempt, passed or not.

    Raises:
        OpsError: It could not be tried, so nothing is known and nothing is recorded.
    """
    at, began = utc_now(), time.monotonic()
    match rung:
        case Rung.STORED:
            done = stored(repository, backup)
        case Rung.CHECKSUMMED:
            done = checksummed(repository, backup, threads=settings.s3_threads, progress=progress)
        case Rung.BOOTED:
            done = booted(settings, repository, backup, progress)
    proof = Proof(
        backup_id=backup.id,
        what=rung,
        passed=done.passed,
        finding=done.finding,
        at=at,
        seconds=time.monotonic() - began,
        evidence=dict(done.evidence),
    )
    record(repository, proof)
    return done
