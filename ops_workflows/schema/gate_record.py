"""`ops.migration_gates`: what came of each step of the gate, kept as it happens."""

from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from ops_workflows.postgres.connection import Connection
from ops_workflows.postgres.identity import who

TABLE = "ops.migration_gates"


class Outcome(StrEnum):
    """What came of a step."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_NEEDED = "not needed"
    LEFT_OUT = "left out"


@dataclass(frozen=True, slots=True)
class GateStep:
    """One step of the gate.

    Attributes:
        name: order, lint, backup, rehearsal, approval, apply, catalogue or smoke.
        outcome: What came of it.
        said: One or more sentences.
        seconds: How long it took.
    """

    name: str
    outcome: Outcome
    said: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Gate:
    """One time that a migration wanted to pass.

    Attributes:
        id: Its number.
        plan: Digest of what was to be done.
        who: Wanted it.
        started_at: When.
        finished_at: When it ended; None while it runs, or since it was killed.
        passed: Whether it did.
        steps: As they are kept: name, outcome, said, seconds.
    """

    id: int
    plan: str
    who: str
    started_at: datetime
    finished_at: datetime | None
    passed: bool | None
    steps: list[dict[str, str | float]]


def open_gate(connection: Connection, ledger: str, plan: str) -> int:
    """Keep that somebody wants to pass; the number to keep the rest under."""
    row = connection.execute(
        f"INSERT INTO {TABLE} (ledger, plan, who, steps) VALUES (%s, %s, %s, '[]') RETURNING id",  # noqa: S608
        [ledger, plan, f"{who()} as {connection.info.user}"],
    ).fetchone()
    return int(row[0]) if row else 0


def keep_steps(connection: Connection, gate: int, steps: list[GateStep], passed: bool | None) -> None:
    """Keep what came of the steps so far, and of the whole; None where it is not through."""
    connection.execute(
        f"UPDATE {TABLE} SET steps = %s, passed = %s, "  # noqa: S608
        "finished_at = CASE WHEN %s::boolean IS NOT NULL THEN clock_timestamp() END WHERE id = %s",
        [Jsonb([asdict(step) for step in steps]), passed, passed, gate],
    )


def last_gate(connection: Connection, ledger: str) -> Gate | None:
    """The last time that somebody wanted to pass; None where nobody has."""
    if connection.execute("SELECT to_regclass(%s)", [TABLE]).fetchone() == (None,):
        return None
    with connection.cursor(row_factory=class_row(Gate)) as cursor:
        columns = "id, plan, who, started_at, finished_at, passed, steps"
        query = f"SELECT {columns} FROM {TABLE} WHERE ledger = %s ORDER BY id DESC LIMIT 1"  # noqa: S608
        return cursor.execute(query.encode(), [ledger]).fetchone()
