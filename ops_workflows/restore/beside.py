"""What lies beside a data directory DIR while it is restored in place, and after a run that was interrupted.

DIR.new              the new one, as far as it has come
DIR.new.unfinished   a sentence about that; it says, too, that DIR.new is ours
DIR.new.ready        what DIR.new, or DIR itself once that has been moved, was recovered to: `Recovered`
DIR.new.run          socket, configuration and log of the server that recovers it
DIR.new.lock         held while a run is at work
DIR.before-<time>    the old one, once it has been moved aside
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from ops_workflows.errors import OpsError, RefusedError
from ops_workflows.postgres.file_lock import HeldError, file_lock
from ops_workflows.restore.choose import Route
from ops_workflows.restore.held import how_to_start, is_held
from ops_workflows.restore.moment import Latest, Moment
from ops_workflows.restore.target import MARK, sync_folder


class Recovered(BaseModel):
    """What a run has recovered, for the next one if that run was interrupted before its end.

    Attributes:
        moment: Where to.
        backup_id: The backup that was asked for; None for the best.
        timeline: On which timeline that is.
        end: Where the WAL in the bucket ended then.
        folder: The inode number of the new data directory, which it keeps when it is moved.
    """

    model_config = ConfigDict(frozen=True)

    moment: str
    backup_id: str | None
    timeline: int
    end: int
    folder: int

    @classmethod
    def now(cls, route: Route, backup_id: str | None, new: Path) -> Self:
        """What has just been recovered."""
        reach = route.reach
        return cls(
            moment=str(route.moment),
            backup_id=backup_id,
            timeline=reach.timeline,
            end=reach.end,
            folder=new.stat().st_ino,
        )

    def is_for(self, moment: Moment, backup_id: str | None) -> bool:
        """Whether it was asked for in the same words."""
        return (self.moment, self.backup_id) == (str(moment), backup_id)

    def is_current(self, route: Route) -> bool:
        """Whether a way leads to just that, still: the bucket may hold more by now, and the latest moment be later."""
        same_end = not isinstance(route.moment, Latest) or route.reach.end == self.end
        return route.reach.timeline == self.timeline and same_end

    def is_in(self, folder: Path) -> bool:
        """Whether a folder is the one that was recovered."""
        return folder.exists() and folder.stat().st_ino == self.folder


@dataclass(frozen=True, slots=True)
class Beside:
    """The places beside a data directory."""

    data_dir: Path

    @property
    def new(self) -> Path:
        """Where the new data directory is made."""
        return self._named("new")

    @property
    def unfinished(self) -> Path:
        """Says that the work is not done, and that what is there is ours."""
        return self._named("new.unfinished")

    @property
    def ready(self) -> Path:
        """Says what has been recovered; it is there whole or not at all."""
        return self._named("new.ready")

    @property
    def part(self) -> Path:
        """That file, while it is written."""
        return self._named("new.ready.part")

    @property
    def run(self) -> Path:
        """Of the server that recovers."""
        return self._named("new.run")

    @property
    def lock(self) -> Path:
        """Held while a run is at work."""
        return self._named("new.lock")

    def held(self) -> list[Path]:
        """Old data directories over which no server can start because of us: where they were, or moved aside."""
        start = f"{self.data_dir.name}.before-"
        aside = sorted(path for path in self.data_dir.parent.iterdir() if path.name.startswith(start))
        return [folder for folder in (self.data_dir, *aside) if is_held(folder)]

    @contextmanager
    def alone(self, *, new: bool | None = None) -> Iterator[None]:
        """Be the only run at work for the length of a `with`.

        Args:
            new: As `file_lock` takes it: whether the lock's file must be new, or must be there.

        Raises:
            RefusedError: Another one is.
        """
        with ExitStack() as held:
            try:
                held.enter_context(file_lock(self.lock, new=new))
            except HeldError:
                raise RefusedError(
                    f"Another restore in place of {self.data_dir} is at work: wait for its end."
                ) from None
            held.callback(self.lock.unlink, missing_ok=True)
            yield

    @contextmanager
    def explained(self) -> Iterator[None]:
        """What goes wrong inside a `with` says, too, how a directory that stays held can be started all the same."""
        try:
            yield
        except OpsError as error:
            held = self.held() if self.data_dir.parent.exists() else []
            if not held:
                raise
            hints = "; ".join(f"to start {folder} as it was, {how_to_start(folder)}" for folder in held)
            raise type(error)(f"{error} A restore in place that was killed is unfinished: {hints}.") from error

    def is_ours(self) -> bool:
        """Whether what lies in the new one's place, if anything does, is what a run of ours has left."""
        foreign = self.new.exists() and any(self.new.iterdir())
        return not foreign or (self.new / MARK).exists() or self.unfinished.exists()

    def recovered(self) -> Recovered | None:
        """What an earlier run has recovered.

        Raises:
            RefusedError: That cannot be read.
        """
        try:
            return Recovered.model_validate_json(self.ready.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            raise RefusedError(
                f"{self.ready} cannot be read: remove it, and {self.new.name} beside it if that is there."
            ) from None

    def write_recovered(self, recovered: Recovered) -> None:
        """Say durably what has been recovered."""
        with self.part.open("w") as file:
            file.write(recovered.model_dump_json(indent=2))
            file.flush()
            os.fsync(file.fileno())
        self.part.rename(self.ready)
        sync_folder(self.ready.parent)

    def _named(self, name: str) -> Path:
        return self.data_dir.with_name(f"{self.data_dir.name}.{name}")
