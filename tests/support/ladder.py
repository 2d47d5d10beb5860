"""One rung tried by itself, whatever was shown of it before."""

from contextlib import closing

from ops_workflows.proof.ladder import Ladder
from ops_workflows.proof.rungs import Climb
from ops_workflows.repository.backup import Backup
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.rungs import Rung
from ops_workflows.settings import Settings


def climb(rung: Rung, settings: Settings, repository: Repository, backup: Backup) -> Climb:
    with closing(Ladder(settings, repository, again=True).climb(backup, rung, only=frozenset({rung}))) as climbs:
        return next(climbs)
