"""The restore drill: the database brought back on a clock, and how much of its newest data came with it."""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import LiteralString, Self

from ops_workflows.errors import DatabaseError
from ops_workflows.postgres.connection import connect
from ops_workflows.postgres.inventory import databases
from ops_workflows.postgres.server import Server
from ops_workflows.progress import SILENT, Progress
from ops_workflows.repository.backup import Backup, utc_now
from ops_workflows.repository.catalogue import open_repository
from ops_workflows.repository.proofs import Proof, record
from ops_workflows.restore import run
from ops_workflows.restore.moment import Latest
from ops_workflows.restore.route import find_route
from ops_workflows.restore.scratch import scratch
from ops_workflows.settings import Settings

_HEARTBEAT: LiteralString = "SELECT max(at) FROM ops.heartbeat"


@dataclass(frozen=True, slots=True)
class Drill:
    """What a drill measured.

    Attributes:
        backup: What was restored.
        began: When “go” was said.
        rto_seconds: From “go” to the first answer to a query that reads the application's data.
        heartbeat: The newest heartbeat that came back; None where the source never had any.
        seconds: Of each phase, in order.
    """

    backup: Backup
    began: datetime
    rto_seconds: float
    heartbeat: datetime | None
    seconds: dict[str, float]

    @property
    def rpo_seconds(self) -> float | None:
        """Age of the newest heartbeat that came back, at “go”: what a disaster at that moment would have cost."""
        return None if self.heartbeat is None else max(0.0, (self.began - self.heartbeat) / timedelta(seconds=1))

    def figures(self) -> dict[str, float | int | str]:
        """Its numbers, flat."""
        figures: dict[str, float | int | str] = {"backup_id": self.backup.id, "rto_seconds": round(self.rto_seconds, 2)}
        if self.rpo_seconds is not None:
            figures["rpo_seconds"] = round(self.rpo_seconds, 2)
        return figures | {f"seconds: {phase}": round(seconds, 3) for phase, seconds in self.seconds.items()}

    def objectives(self, settings: Settings) -> dict[str, "Objective"]:
        """Both promises held against what was measured."""
        return {
            "rto": Objective.hold(self.rto_seconds, settings.rto_objective_seconds),
            "rpo": Objective.hold(self.rpo_seconds, settings.rpo_objective_seconds),
        }


@dataclass(frozen=True, slots=True)
class Objective:
    """Whether a promise was kept, and the sentence and figures that say so."""

    passed: bool
    finding: str
    evidence: dict[str, float]

    @classmethod
    def hold(cls, measured: float | None, objective: int) -> Self:
        """Hold a measurement against its objective, both in seconds; what was not measured is not kept."""
        if measured is None:
            return cls(False, "No heartbeat came back, so it is unknown: something must write to ops.heartbeat.", {})
        finding = f"{measured:,.1f} s measured, {objective:,} s promised."
        return cls(measured <= objective, finding, {"seconds": round(measured, 2), "objective_seconds": objective})


def drill(settings: Settings, backup_id: str = "latest", progress: Progress = SILENT) -> Drill:
    """Restore a backup into a scratch server, ask it, measure, and leave nothing behind.

    Raises:
        OpsError: It did not come back, which is what a drill is there to find out; the text says why.
    """
    began, go = utc_now(), time.monotonic()
    repository = open_repository(settings)
    route, listing = find_route(repository, Latest(), None if backup_id == "latest" else backup_id)
    backup = route.backup
    with scratch(settings, backup.major, progress) as folder:
        chosen = run.plan(route, folder / "data", chain=repository.chain(route.backup))
        planned = time.monotonic() - go
        with run.recovered(settings, repository, chosen, listing, progress) as (restored, server):
            with restored.phase("first answer"):
                heartbeat = newest_heartbeat(server, backup.superuser)
            rto_seconds = time.monotonic() - go
    done = Drill(backup, began, rto_seconds, heartbeat, {"plan": planned} | restored.seconds)
    held = done.objectives(settings)
    proof = Proof(
        backup_id=backup.id,
        what="drill",
        passed=all(objective.passed for objective in held.values()),
        finding=" ".join(f"{name.upper()}: {objective.finding}" for name, objective in held.items()),
        at=began,
        seconds=time.monotonic() - go,
        evidence=done.figures(),
    )
    record(repository, proof)
    return done


def newest_heartbeat(server: Server, superuser: str) -> datetime | None:
    """The newest heartbeat in any database of a restored server; None where no database has the table, or it is empty.

    Raises:
        DatabaseError: The server does not answer.
    """
    beats: list[datetime] = []
    with connect(server.dsn("postgres", superuser)) as connection:
        names = databases(connection)
    for name in names:
        with connect(server.dsn(name, superuser)) as connection:
            there = connection.execute("SELECT to_regclass('ops.heartbeat') IS NOT NULL").fetchone()
            if there is None:
                raise DatabaseError(f"Database {name} did not answer.")
            if there[0] and (newest := connection.execute(_HEARTBEAT).fetchone()) and newest[0]:
                beats.append(newest[0])
    return max(beats, default=None)
