"""Whether the database could come back right now: how much would be lost, how long it would take, what is wrong."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from ops_workflows.backup.preflight import dumps_only
from ops_workflows.backup.wal_status import WalStatus, wal_status
from ops_workflows.proof.forecast import Breaking, Forecast, Present, breaking, forecast, growth, unmeasured
from ops_workflows.repository.backup import Backup, utc_now
from ops_workflows.repository.catalogue import Repository, open_repository, unusable
from ops_workflows.repository.drills import DrillRecord, past_drills
from ops_workflows.repository.dumps import Dumps
from ops_workflows.repository.proofs import State, read_ledger
from ops_workflows.repository.proved import PROVED, is_proved
from ops_workflows.repository.standing import Standing, standing
from ops_workflows.restore.moment import Latest
from ops_workflows.restore.route import find_route
from ops_workflows.settings import Settings

_SOON = timedelta(days=30)  # to make recovery faster, or the database smaller
_MOST_SINCE_DRILL = timedelta(days=8)  # they are weekly; Dagster expects them as often
_RECENT = 20  # drills that a forecast stands on: older ones may have been on another machine


@dataclass(frozen=True, slots=True)
class Protection:
    """Protection at one moment.

    Attributes:
        wal: The log in the bucket: window and lag.
        newest: The newest backup; None without one.
        proved: The newest backup that was shown to be `booted` or more, with nothing failed; None without one.
        standings: Of every backup.
        rpo_seconds: Age of the newest moment that can be had back; None where nothing can.
        rpo_objective_seconds: What was promised.
        forecast: How long recovering would take; None where no drill tells.
        unmeasured: Phases of a recovery that no drill has measured.
        breaking: At which size, and when, the objective breaks; None if it does not.
        rto_objective_seconds: What was promised.
        last_drill: None without one.
        at: When that was.
        passed_over: Proofs and drills that count for nothing, and why, a sentence each.
        lost: What is wrong with backups whose records are damaged, and with those that build on them.
        only_dumps: Why there can be no backup, and what there is; None where there can.
    """

    wal: WalStatus
    newest: Backup | None
    proved: Backup | None
    standings: Mapping[str, Standing]
    rpo_seconds: float | None
    rpo_objective_seconds: int
    forecast: Forecast | None
    unmeasured: tuple[str, ...]
    breaking: Breaking | None
    rto_objective_seconds: int
    last_drill: DrillRecord | None
    at: datetime
    passed_over: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    only_dumps: str | None = None

    def problems(self) -> list[str]:
        """What speaks against being protected now, a sentence each."""
        return list(self._problems())

    def warnings(self) -> list[str]:
        """What nobody knows, or what will speak against it soon, a sentence each."""
        return list(self._warnings())

    @property
    def keeps_rto(self) -> bool:
        """Whether even the long end of the forecast keeps the objective, and will for a month as far as is known.

        Not where nobody can tell how long it would take now.
        """
        if self.forecast is None or self.forecast.high_seconds > self.rto_objective_seconds:
            return False
        return self.breaking is None or not self.breaking.is_before((self.at + _SOON).date())

    @property
    def rto_sentence(self) -> str:
        """The forecast in words."""
        if self.forecast is None:
            lacking = ", ".join(self.unmeasured) or "anything"
            return f"Nobody knows how long recovering would take: no drill has measured {lacking}."
        said = (
            f"{self.forecast.expected_seconds:,.0f} s to expect, {self.forecast.high_seconds:,.0f} s at most, "
            f"{self.rto_objective_seconds:,} s promised."
        )
        if self.breaking is None:
            return said
        on = f", on {self.breaking.on} at the present growth" if self.breaking.on else ""
        return f"{said} It breaks at {self.breaking.database_bytes:,} bytes{on}."

    def rto_figures(self) -> dict[str, float | int]:
        """The forecast as numbers, for a plot."""
        if self.forecast is None:
            return {}
        return {
            "rto_expected_seconds": round(self.forecast.expected_seconds, 2),
            "rto_high_seconds": round(self.forecast.high_seconds, 2),
            "rto_objective_seconds": self.rto_objective_seconds,
        }

    def _problems(self) -> Iterator[str]:
        yield from self.lost
        if self.newest is None:
            yield self.only_dumps or "There is no backup: take one, `ops backup`."
            return
        failed = {backup_id: stands.failed for backup_id, stands in self.standings.items() if stands.failed}
        for backup_id, rung in failed.items():
            yield f"Backup {backup_id} is not {rung}: see `ops verify --backup {backup_id} --rung {rung}`."
        if self.proved is None:
            yield f"No backup was shown to be {PROVED}: run `ops verify`."
        elif not _is_fresh(self.standings[self.proved.id]):
            yield (
                f"Backup {self.proved.id}, the newest that was shown to be {PROVED}, was shown to be so "
                f"{self.standings[self.proved.id].age} ago, which is too long: run `ops verify`, and see why "
                "`verify_backups` does not run."
            )
        if self.wal.cut_off is not None:
            yield "No backup leads to the newest WAL: take one, `ops backup`."
        if not self.wal.receiving:
            yield f"Nobody ships the log: {self.wal.receiver}."
        if self.rpo_seconds is None or self.rpo_seconds > self.rpo_objective_seconds:
            age = "unknown" if self.rpo_seconds is None else f"{self.rpo_seconds:,.0f} s old"
            yield f"The newest moment that can be had back is {age}; {self.rpo_objective_seconds:,} s are promised."
        if self.last_drill is not None and not self.last_drill.passed:
            yield f"The last drill, {self.last_drill.id}, failed."

    def _warnings(self) -> Iterator[str]:
        yield from self.passed_over
        if self.last_drill is None:
            yield "There was no drill yet: run `ops drill`."
            return
        if (since := self.at - self.last_drill.at) > _MOST_SINCE_DRILL:
            yield f"The last drill, {self.last_drill.id}, was {since.days} days ago: run `ops drill`."
        if not self.keeps_rto:
            yield f"RTO: {self.rto_sentence}"

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        known, breaks, last = self.forecast, self.breaking, self.last_drill
        return {
            "protected": not self.problems(),
            "problems": self.problems(),
            "warnings": self.warnings(),
            "wal": self.wal.as_dict(),
            "newest_backup": self.newest.id if self.newest else None,
            "newest_proved_backup": self.proved.id if self.proved else None,
            "rungs": {backup_id: stands.states for backup_id, stands in self.standings.items()},
            "rpo_seconds": self.rpo_seconds,
            "rto_forecast": asdict(known) if known else None,
            "rto_breaks_at_bytes": breaks.database_bytes if breaks else None,
            "rto_breaks_on": breaks.on.isoformat() if breaks and breaks.on else None,
            "last_drill": {"id": last.id, "passed": last.passed, "rto_seconds": last.rto_seconds} if last else None,
        }


def protection(settings: Settings) -> Protection:
    """Look at the bucket, and at the server where it answers. A server that is down is part of the answer.

    Raises:
        ConfigurationError: A setting is missing.
        RefusedError: The bucket knows no cluster, or several.
        StorageError: The bucket did not answer, so nothing is known.
    """
    wal = wal_status(settings)
    repository = open_repository(settings)
    known, drills, now = repository.catalogue(), past_drills(repository, _RECENT), utc_now()
    past = drills.readable
    lost = unusable(known)
    backups = [backup for backup in known.readable if backup.id not in lost]
    shown = read_ledger(repository, [backup.id for backup in backups])
    standings = {backup.id: standing(shown.newest[backup.id], now, settings.proof_days) for backup in backups}
    proved = [backup for backup in backups if is_proved(standings[backup.id])]
    there = _present(repository) if backups else None
    objective = settings.rto_objective_seconds
    return Protection(
        wal=wal,
        newest=backups[-1] if backups else None,
        proved=proved[-1] if proved else None,
        standings=standings,
        rpo_seconds=max(0.0, (now - wal.window[1]) / timedelta(seconds=1)) if wal.window else None,
        rpo_objective_seconds=settings.rpo_objective_seconds,
        forecast=forecast(past, there) if there else None,
        unmeasured=unmeasured(past, there) if there else (),
        breaking=breaking(past, there, growth(backups), objective, now) if there else None,
        rto_objective_seconds=objective,
        last_drill=past[-1] if past else None,
        at=now,
        passed_over=(*shown.passed_over, *drills.passed_over.values()),
        lost=tuple(lost.values()),
        only_dumps=_only_dumps(settings, repository, now) if not backups else None,
    )


def _only_dumps(settings: Settings, repository: Repository, now: datetime) -> str | None:
    reason = dumps_only(settings)
    if reason is None:
        return None
    dumps = Dumps(repository).catalogue().readable
    if not dumps:
        return f"{reason} And there is no dump: take one, `ops dump`."
    age = (now - dumps[-1].started_at) / timedelta(hours=1)
    return f"{reason} What was committed since dump {dumps[-1].id} began, {age:,.1f} h ago, would be lost."


def _is_fresh(stands: Standing) -> bool:
    """Whether it was shown lately that it had been a running database, at that rung or a higher one."""
    return any(seen is State.PASSED for rung, seen in stands.states.items() if PROVED in (*rung.below(), rung))


def _present(repository: Repository) -> Present:
    """What recovering to the newest moment would have to fetch, put together and replay."""
    route, _ = find_route(repository, Latest())
    chain = repository.chain(route.backup)
    return Present(
        database_bytes=route.backup.database_bytes,
        stored_bytes=sum(link.stored_bytes for link in chain),
        wal_bytes=route.wal_bytes,
        backups=len(chain),
    )
