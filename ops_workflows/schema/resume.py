"""A version that was left dirty: what is true of it, as far as history and catalogue prove it, and what is left to do.

Only files that are run statement by statement leave one. Whatever cannot be proved is left to a person.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ops_workflows.errors import RefusedError
from ops_workflows.postgres.connection import Connection
from ops_workflows.schema.files import Migration
from ops_workflows.schema.half_done import was_done
from ops_workflows.schema.history import Entry, History, Result
from ops_workflows.schema.plan import NOTHING, Direction, Position, Step
from ops_workflows.schema.source import Source, read_source


class ForeignDirtyError(RefusedError):
    """It was not this project that left the schema dirty."""


@dataclass(frozen=True, slots=True)
class Rest:
    """What is left of a file.

    Attributes:
        step: Which step it belongs to.
        source: The file.
        entry: The number of the attempt in the history that is gone on with; None to begin anew.
        done: How many of its statements have been carried out.
    """

    step: Step
    source: Source
    entry: int | None
    done: int


def find_rest(
    connection: Connection, position: Position, migrations: Sequence[Migration], history: History
) -> Rest | None:
    """What is left to be done of the step that left the schema dirty; None where it is not.

    Raises:
        ForeignDirtyError: It was not this project that left it so.
        RefusedError: The file is another by now.
        DatabaseError: Whether a statement was carried out cannot be told.
    """
    if not position.dirty:
        return None
    entries = history.entries(connection)
    last = entries[-1] if entries else None
    step = _step(position, migrations, last) if last is not None else None
    if last is None or step is None or last.result == Result.APPLIED:
        raise ForeignDirtyError(
            f"The schema is dirty at version {position.version}, and it was not `ops migrate` that left it so: another "
            "program's run failed or was killed. Its file was one transaction unless it says otherwise, so most likely "
            "nothing of it was done. `ops migrate up` records what is true where the catalogue proves it; where it "
            "does not, see for yourself, and say it: `ops migrate force` with the version."
        )
    source = read_source(step.script)
    if last.result == Result.FAILED and last.statements_done == 0:
        return Rest(step, source, None, 0)  # whatever was wrong with the file, nothing of it has been done
    if source.sha256 != last.sha256:
        raise RefusedError(
            f"The schema is dirty at version {position.version}: {last.statements_done} statements of "
            f"{step.script.name} were carried out, and the file has been altered since. Bring it back as it was and "
            "run this again, or complete or undo it by hand and say what is true: `ops migrate force` with the version."
        )
    done = last.statements_done
    if done < len(source.statements) and was_done(connection, source, source.statements[done]):
        done += 1
    return Rest(step, source, last.id, done)


def _step(position: Position, migrations: Sequence[Migration], last: Entry) -> Step | None:
    for index, migration in enumerate(migrations):
        if migration.version != last.version:
            continue
        if last.direction == Direction.UP and position.version == migration.version:
            return Step(Direction.UP, migration, migration.up, migration.version)
        before = migrations[index - 1].version if index else NOTHING
        if last.direction == Direction.DOWN and position.version == before and migration.down is not None:
            return Step(Direction.DOWN, migration, migration.down, before)
    return None
