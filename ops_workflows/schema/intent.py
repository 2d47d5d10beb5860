"""What a run is going to do, as far as it can be known beforehand; its digest is what a person approves of."""

import hashlib
import json
from dataclasses import dataclass

from ops_workflows.schema.destructive import Destruction, destructions
from ops_workflows.schema.plan import Position, Step
from ops_workflows.schema.resume import Rest
from ops_workflows.schema.source import Source

_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Intent:
    """Steps that are to be taken.

    Attributes:
        system: PostgreSQL's system identifier, which a copy has, too.
        database: Its name.
        ledger: The schema that is migrated.
        position: Where it stands.
        rest: What an earlier run has left half done, and is finished first; None without such.
        steps: In order.
        sources: Their files.
    """

    system: str
    database: str
    ledger: str
    position: Position
    rest: Rest | None
    steps: tuple[Step, ...]
    sources: tuple[Source, ...]

    @property
    def start(self) -> Position:
        """Where it stands when the first of the steps is taken."""
        return Position(self.rest.step.target) if self.rest else self.position

    @property
    def end(self) -> Position:
        """Where it stands afterwards."""
        return Position(self.steps[-1].target) if self.steps else self.start

    @property
    def files(self) -> tuple[Source, ...]:
        """All files that are run, in order, the half-done one first."""
        return ((self.rest.source,) if self.rest else ()) + self.sources

    @property
    def destructions(self) -> list[Destruction]:
        """What they destroy."""
        return [each for source in self.files for each in destructions(source)]

    @property
    def digest(self) -> str:
        """Of all this, 16 hex digits: the same only for the same files from the same place of the same database."""
        files = [(source.path.name, source.sha256) for source in self.files]
        done = self.rest.done if self.rest else 0
        what = [self.system, self.database, self.ledger, self.position.version, self.position.dirty, done, files]
        return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:_DIGITS]
