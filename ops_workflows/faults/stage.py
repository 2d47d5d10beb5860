"""What the kinds need, made when the first of them asks for it, and gone when the suite ends."""

from contextlib import ExitStack
from functools import cached_property

from ops_workflows.faults.look import BackupLook, DumpLook
from ops_workflows.faults.odd import Odd, odd
from ops_workflows.faults.scene import Scene, scene
from ops_workflows.faults.sealed import Sealed, sealed
from ops_workflows.faults.source import Source, source
from ops_workflows.progress import Progress
from ops_workflows.repository.backup import Backup
from ops_workflows.settings import Settings


class Stage:
    """Where the faults are made.

    Args:
        settings: Which lead to a prefix of the suite's own.
        stack: Ends what was begun.
        progress: Hears how far it is.
    """

    def __init__(self, settings: Settings, stack: ExitStack, progress: Progress) -> None:
        self.settings = settings
        self.progress = progress
        self._stack = stack

    @cached_property
    def scene(self) -> Scene:
        """The repository that most faults are made in."""
        self.progress.say("Making the repository that faults are made in …")
        return self._stack.enter_context(scene(self.settings, self.progress))

    @cached_property
    def other(self) -> Source:
        """The server of another cluster, for what is broken before it is backed up."""
        self.progress.say("Making another cluster …")
        return self._stack.enter_context(source(self.settings, self.progress))

    @cached_property
    def foreign(self) -> Backup:
        """A backup of the other cluster, whole, with log behind it."""
        return self.other.back_up_and_plant()

    @cached_property
    def sealed(self) -> Sealed:
        """An encrypted repository of the scene's server."""
        self.progress.say("Making an encrypted repository …")
        return self._stack.enter_context(sealed(self.scene.source))

    @cached_property
    def odd(self) -> Odd:
        """A cluster full of what is unusual and healthy."""
        self.progress.say("Making a cluster of oddities …")
        return self._stack.enter_context(odd(self.settings, self.progress))

    def look(self, backup: Backup | None = None, settings: Settings | None = None) -> BackupLook:
        """A look at one of the scene's backups; by default at the one that faults are made in."""
        at = backup or self.scene.backup
        return BackupLook(settings or self.scene.settings, at.system, at.id, self.progress)

    def look_at_dump(self, settings: Settings | None = None) -> DumpLook:
        """A look at the scene's dump."""
        dump = self.scene.dump
        return DumpLook(settings or self.scene.settings, dump.system, dump.id, self.progress)
