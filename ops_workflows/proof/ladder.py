"""Climbing: the rungs in order, up to the first that fails, each attempt written down in the bucket.

What was shown and has not changed since is not looked at again until its proof is older than OPS_PROOF_DAYS. `stored`
and `contiguous` cost listings only, and are looked at every time; of the log `checksummed` reads what is new.
"""

import time
from collections.abc import Callable, Generator
from datetime import timedelta
from functools import cached_property
from importlib.metadata import version

from ops_workflows.progress import SILENT, Progress
from ops_workflows.proof.booted import booted
from ops_workflows.proof.checksummed import checksummed, with_log
from ops_workflows.proof.contiguous import contiguous
from ops_workflows.proof.exact import exact
from ops_workflows.proof.log import Log
from ops_workflows.proof.restoration import Restoration
from ops_workflows.proof.restored import restored
from ops_workflows.proof.rungs import Climb
from ops_workflows.proof.seen import digest, listed
from ops_workflows.proof.sound import sound
from ops_workflows.proof.stored import stored
from ops_workflows.repository.backup import Backup, utc_now
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.proofs import Proof, State, newest, record, state
from ops_workflows.repository.rungs import Rung
from ops_workflows.settings import Settings
from ops_workflows.storage.objects import StoredObject

_CHEAP = {Rung.STORED, Rung.CONTIGUOUS}


class Ladder:
    """The rungs of a repository's backups. What the bucket lists is read once, when it is first needed.

    Args:
        settings: How to restore, and how long a proof counts.
        repository: Which.
        progress: Hears how far it is.
        again: Show again what has been shown, too.
    """

    def __init__(
        self, settings: Settings, repository: Repository, progress: Progress = SILENT, *, again: bool = False
    ) -> None:
        self._settings = settings
        self._repository = repository
        self._progress = progress
        self._again = again
        self._log = Log(settings, repository, again=again, progress=progress)

    def climb(
        self, backup: Backup, upto: Rung = Rung.EXACT, *, only: frozenset[Rung] | None = None
    ) -> Generator[Climb]:
        """Climb, and give the outcome of each rung; it ends behind the first that fails.

        Args:
            backup: Which backup.
            upto: The last rung.
            only: Leave out all others; None for none.

        Raises:
            OpsError: A rung could not be tried, so nothing is known of it and nothing is recorded.
        """
        rungs = [rung for rung in (*upto.below(), upto) if only is None or rung in only]
        dear = set(rungs) - _CHEAP
        shown = newest(self._repository, [backup.id])[backup.id] if dear and not self._again else {}
        seen = digest(self._repository, backup, self._listed) if dear else ""
        most_age = timedelta(days=self._settings.proof_days)
        with Restoration(self._settings, self._repository, backup, self._progress) as restoration:
            steps = self._steps(backup, restoration)
            for rung in rungs:
                known, step = shown.get(rung) if rung in dear else None, steps[rung]
                if known is not None and state(known, utc_now(), most_age, seen) is State.PASSED:
                    step = self._remembered(backup, Climb(rung, True, known.finding, known.evidence, known.at))
                done = self._attempt(backup, step, seen)
                yield done
                if not done.passed:
                    return

    def _steps(self, backup: Backup, restoration: Restoration) -> dict[Rung, Callable[[], Climb]]:
        repository, settings, progress, log = self._repository, self._settings, self._progress, self._log
        threads = max(2, settings.s3_threads // 2)  # hashing is what takes the time: more ahead costs memory only
        return {
            Rung.STORED: lambda: stored(repository, backup, self._listed),
            Rung.CHECKSUMMED: lambda: checksummed(repository, backup, log, threads=threads, progress=progress),
            Rung.CONTIGUOUS: lambda: contiguous(backup, *log.listing(backup), log.canaries, log.seen_until),
            Rung.RESTORED: lambda: restored(restoration),
            Rung.BOOTED: lambda: booted(restoration),
            Rung.SOUND: lambda: sound(restoration),
            Rung.EXACT: lambda: exact(settings, repository, backup, log.listing(backup), progress),
        }

    def _remembered(self, backup: Backup, known: Climb) -> Callable[[], Climb]:
        """What was shown of the backup itself counts; the log behind it may have grown since, or changed."""
        return lambda: with_log(backup, self._log, known) if known.rung is Rung.CHECKSUMMED else known

    def _attempt(self, backup: Backup, step: Callable[[], Climb], seen: str) -> Climb:
        at, began = utc_now(), time.monotonic()
        done = step()
        if done.shown_at is not None:
            return done
        proof = Proof(
            backup_id=backup.id,
            what=done.rung,
            passed=done.passed,
            finding=done.finding,
            at=at,
            seconds=time.monotonic() - began,
            evidence=dict(done.evidence),
            versions={"ops_workflows": version("ops-workflows"), "postgresql": str(backup.major)},
            seen=seen,
        )
        record(self._repository, proof)
        return done

    @cached_property
    def _listed(self) -> dict[str, StoredObject]:
        return listed(self._repository)
