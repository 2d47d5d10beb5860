"""What a drill asks of a database that has come back; each answer is a check with one sentence, timed apart."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ops_workflows.errors import DatabaseError
from ops_workflows.postgres.server import Server
from ops_workflows.proof.contents import read_everything
from ops_workflows.proof.deadline import Deadline
from ops_workflows.proof.smoke import SmokeQuery, ask_smoke
from ops_workflows.proof.sound import look_through
from ops_workflows.proof.witness import Witnesses, heartbeat_databases, testimony
from ops_workflows.repository.drills import DrillCheck

PREFIX = "check: "  # of the names of their phases
_MOST_FAULTS = 5  # that a finding names


def hold(name: str, measured: float | None, objective: int, unknown: str) -> DrillCheck:
    """Hold a measurement against its objective, both in seconds; what was not measured is not kept."""
    if measured is None:
        return DrillCheck(name=name, passed=False, finding=unknown)
    return DrillCheck(
        name=name, passed=measured <= objective, finding=f"{measured:,.1f} s measured, {objective:,} s promised."
    )


@dataclass(frozen=True, slots=True)
class Asking:
    """Asks one server.

    Attributes:
        server: Recovered and promoted.
        superuser: Whom to ask as.
        progress: Hears how far it is, and bounds the time.
        seconds: Is given how long each check took.
    """

    server: Server
    superuser: str
    progress: Deadline
    seconds: dict[str, float]

    def exact(self, asked: Witnesses | None, lacking: str | None = None) -> DrillCheck:
        """Whether it is as it was at the moment that was asked for, and not at another.

        Args:
            asked: Who knows something of the moment; None where no time was asked for.
            lacking: Why it could not go to such a moment as was asked for: then that is not kept.
        """
        name = "exact"
        if lacking is not None:
            finding = f"It cannot be shown, for {lacking}: Dagster's sensor `canaries` plants them, or `ops canary`."
            return DrillCheck(name=name, passed=False, finding=finding)
        if asked is None or not asked.speak:
            why = "no time was asked for" if asked is None else "no canaries surround the moment"
            return DrillCheck(name=name, passed=None, finding=f"Not run: {why}.")
        with self._timed(name):
            try:
                faults = testimony(self.server, self.superuser, asked)
            except DatabaseError as error:
                faults = [str(error)]
        if faults:
            return _failed(name, faults)
        finding = f"{asked.before[-1].sender} from before it is there; {asked.after[0].sender} from after it is not."
        return DrillCheck(name=name, passed=True, finding=finding)

    def sound(self) -> DrillCheck:
        """Whether every table can be read to its end, pg_amcheck finds nothing, and indexes agree with their tables."""
        name = "sound"
        with self._timed(name):
            try:
                rows = read_everything(self.server, self.superuser, self.progress)
                finding = look_through(self.server, self.superuser, rows, self.progress.left, self.progress)
            except DatabaseError as error:
                return _failed(name, [str(error).rstrip(".")])
        return DrillCheck(name=name, passed=True, finding=finding)

    def smoke(self, queries: list[SmokeQuery] | None) -> DrillCheck:
        """Whether the application's own queries get the answers that they expect."""
        name = "smoke"
        if queries is None:
            return DrillCheck(name=name, passed=None, finding="Not run: there is no file OPS_SMOKE_FILE.")
        with self._timed(name):
            try:
                databases = heartbeat_databases(self.server, self.superuser)
                faults = [
                    f"{database}: {fault}"
                    for database in databases
                    for fault in ask_smoke(self.server.dsn(database, self.superuser), queries)
                ]
            except DatabaseError as error:
                databases, faults = [], [str(error).rstrip(".")]
        if faults:
            return _failed(name, faults)
        if not databases:
            return DrillCheck(name=name, passed=None, finding="Not run: no database has ops.heartbeat.")
        finding = f"{len(queries)} queries were answered as expected by {', '.join(databases)}."
        return DrillCheck(name=name, passed=True, finding=finding)

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        self.progress.begin(name, None)
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[PREFIX + name] = time.monotonic() - began


def _failed(name: str, faults: list[str]) -> DrillCheck:
    more = f"; and {len(faults) - _MOST_FAULTS} more" if len(faults) > _MOST_FAULTS else ""
    return DrillCheck(name=name, passed=False, finding="; ".join(faults[:_MOST_FAULTS]) + more + ".")
