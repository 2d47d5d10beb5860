"""One restore of a backup to its own end, which several rungs look at one after the other."""

from contextlib import ExitStack
from functools import cached_property
from typing import Self

from ops_workflows.postgres.server import Server
from ops_workflows.progress import SILENT, Progress
from ops_workflows.proof.contents import Table, read_everything, schemas
from ops_workflows.repository.backup import Backup
from ops_workflows.repository.catalogue import Repository
from ops_workflows.restore import run
from ops_workflows.restore.run import Restored
from ops_workflows.restore.scratch import scratch
from ops_workflows.settings import Settings


class Restoration:
    """A backup in a scratch folder, for the length of a `with`: extracted, started and read when first asked for.

    A step that failed fails again for whoever asks next.
    """

    def __init__(self, settings: Settings, repository: Repository, backup: Backup, progress: Progress = SILENT) -> None:
        self.settings = settings
        self.repository = repository
        self.backup = backup
        self.progress = progress
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @cached_property
    def restored(self) -> Restored:
        """The data directory: extracted, put together, verified.

        Raises:
            IntegrityError: The backup is damaged: the text names the object or file.
            ConfigurationError: This machine cannot do it, so nothing is known.
            RefusedError: There is no room for it, so nothing is known.
            StorageError: The bucket did not answer, so nothing is known.
        """
        folder = self._stack.enter_context(scratch(self.settings, self.backup.major, self.progress))
        plan = run.plan(self.backup, folder / "data", chain=self.repository.chain(self.backup))
        return run.restore(self.settings, self.repository, plan, self.progress)

    @cached_property
    def server(self) -> Server:
        """The server over it, consistent and answering.

        Raises:
            DatabaseError: It did not start; with its last words.
        """
        return self._stack.enter_context(run.running(self.settings, self.restored, self.progress))

    @cached_property
    def rows(self) -> dict[Table, int]:
        """How many rows each table gave when every one of them was read, with all its columns.

        Raises:
            DatabaseError: A table cannot be read to its end; the text names it.
        """
        with self.restored.phase("read every table"):
            return read_everything(self.server, self.backup.superuser, self.progress)

    @cached_property
    def schemas(self) -> dict[str, dict[str, str]]:
        """Of every database, each object's identity and its definition's digest."""
        return schemas(self.server, self.backup.superuser)

    def seconds(self) -> dict[str, float]:
        """How long each phase took so far, as evidence."""
        return {f"seconds: {phase}": round(seconds, 3) for phase, seconds in self.restored.seconds.items()}
