"""One look at a backup or a dump, as `ops verify` looks: up the whole ladder, or the one rung of a dump."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from ops_workflows.errors import OpsError
from ops_workflows.faults.outcome import CATALOGUE, RESTORABLE, Caught
from ops_workflows.progress import SILENT, Progress
from ops_workflows.proof.ladder import Ladder
from ops_workflows.proof.restorable import restorable
from ops_workflows.repository.catalogue import open_repository
from ops_workflows.repository.dumps import Dumps
from ops_workflows.repository.rungs import Rung
from ops_workflows.settings import Settings

Look = Callable[[], Caught]


@dataclass(frozen=True, slots=True)
class BackupLook:
    """The whole ladder, whatever was shown before.

    Attributes:
        settings: How to read.
        system: The cluster.
        backup_id: Which backup.
        progress: Hears how far it is.
    """

    settings: Settings
    system: str
    backup_id: str
    progress: Progress = SILENT

    def __call__(self) -> Caught:
        """Climb; an error that a person is meant to read counts as the rung that it kept from being shown."""
        trying: str = CATALOGUE
        said = ""
        try:
            repository = open_repository(self.settings, self.system)
            backup = repository.find(self.backup_id)
            trying = Rung.STORED
            ladder = Ladder(self.settings, repository, self.progress, again=True)
            with closing(ladder.climb(backup, Rung.EXACT)) as climbs:
                for done in climbs:
                    said = done.finding
                    if not done.passed:
                        return Caught(done.rung.value, said)
                    trying = _next(done.rung)
        except OpsError as error:
            return Caught(str(trying), str(error))
        return Caught(None, said)


@dataclass(frozen=True, slots=True)
class DumpLook:
    """Whether a dump is restorable.

    Attributes:
        settings: How to read.
        system: The cluster.
        dump_id: Which dump.
        progress: Hears how far it is.
    """

    settings: Settings
    system: str
    dump_id: str
    progress: Progress = SILENT

    def __call__(self) -> Caught:
        """Try; errors count as with a backup."""
        trying = CATALOGUE
        try:
            dumps = Dumps(open_repository(self.settings, self.system))
            dump = dumps.find(self.dump_id)
            trying = RESTORABLE
            proof = restorable(self.settings, dumps, dump, self.progress)
        except OpsError as error:
            return Caught(trying, str(error))
        return Caught(None if proof.passed else RESTORABLE, proof.finding)


def _next(rung: Rung) -> Rung:
    rungs = list(Rung)
    return rungs[min(rungs.index(rung) + 1, len(rungs) - 1)]
