"""A round: everything is looked at, at once and in bounded time, and put together."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ops_workflows.health.bucket import bucket, repository
from ops_workflows.health.disk import disk
from ops_workflows.health.evidence import Held, Sighting, conclude
from ops_workflows.health.probe import Probe, gather
from ops_workflows.health.reading import Check, Reading, Severity, worst
from ops_workflows.health.server import server, standby
from ops_workflows.health.service import service
from ops_workflows.health.shipping import shipping
from ops_workflows.health.thresholds import Thresholds
from ops_workflows.health.upkeep import upkeep
from ops_workflows.health.valkey import valkey
from ops_workflows.postgres.connection import conninfo, endpoints
from ops_workflows.repository.backup import utc_now
from ops_workflows.settings import Settings

SERVICE, DIRECT, STANDBY = "upkeep_dsn", "backup_dsn", "standby_dsn"
"""The ways on which a server is looked at, by the setting that leads there."""


@dataclass(frozen=True, slots=True)
class Round:
    """What one round saw.

    Attributes:
        at: When it began.
        seconds: How long it took.
        readings: Of each check, in their order.
        sightings: Which servers were met, on which ways.
        left_out: Checks that the settings name nothing for, and what would: a sentence each.
    """

    at: datetime
    seconds: float
    readings: tuple[Reading, ...]
    sightings: tuple[Sighting, ...]
    left_out: tuple[str, ...]

    @property
    def severity(self) -> Severity:
        """Of the worst reading; what is unknown is worse than a warning."""
        return worst(self.readings)

    def of(self, check: Check) -> Reading:
        """The reading of a check.

        Raises:
            KeyError: It was left out.
        """
        return {each.check: each for each in self.readings}[check]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "at": self.at.isoformat(),
            "seconds": round(self.seconds, 3),
            "severity": self.severity,
            "checks": [each.as_dict() for each in self.readings],
            "sightings": [
                {
                    "way": each.way,
                    "is_standby": each.is_standby,
                    "system": each.system,
                    "timeline": each.timeline,
                    "started": each.started.isoformat(),
                }
                for each in self.sightings
            ],
            "left_out": list(self.left_out),
        }


def look(settings: Settings) -> Round:
    """Look at everything that the settings name; it takes OPS_HEALTH_ROUND_SECONDS at most, whatever hangs.

    Raises:
        ConfigurationError: OPS_UPKEEP_DSN or OPS_BACKUP_DSN is not set, or a URL cannot be read.
    """
    at, began = utc_now(), time.monotonic()
    probes, left_out = _probes(settings)
    seen = gather(probes, settings.health_round_seconds, settings.health_probe_seconds)
    readings = [each for each in seen if isinstance(each, Reading)]
    sightings = tuple(each for each in seen if isinstance(each, Sighting))
    held = next((each for each in seen if isinstance(each, Held)), None)
    ways = [SERVICE, DIRECT, *([STANDBY] if _standby(settings) else [])]
    readings += conclude(sightings, ways, held, settings.system)
    order = tuple(Check)
    readings.sort(key=lambda each: order.index(each.check))
    return Round(at, time.monotonic() - began, tuple(readings), sightings, tuple(left_out))


def _probes(settings: Settings) -> tuple[list[Probe], list[str]]:
    """All that there is something to look at for; and why others are left out."""
    limits = Thresholds.of(settings)
    seconds = settings.health_probe_seconds
    for dsn in filter(None, (settings.require(SERVICE), settings.require(DIRECT), _standby(settings))):
        endpoints(conninfo(dsn, timeout=seconds))  # an unreadable one is a mistake of ours, not the server's trouble
    hurried = settings.model_copy(
        update={"connect_timeout_seconds": seconds, "s3_timeout_seconds": seconds, "s3_attempts": 1}
    )
    upkeep_dsn, backup_dsn, standby_dsn = settings.require(SERVICE), settings.require(DIRECT), _standby(settings)
    probes = [
        service(upkeep_dsn, SERVICE, standby_dsn, limits.lag_seconds),
        server(backup_dsn, DIRECT, settings.wal_slot, limits, has_standby=standby_dsn is not None),
        upkeep(upkeep_dsn, limits.rollup_hours),
        *_further(hurried, limits, standby_dsn),
    ]
    return probes, list(_left_out(settings))


def _further(settings: Settings, limits: Thresholds, standby_dsn: str | None) -> Iterator[Probe]:
    if standby_dsn is not None:
        yield standby(standby_dsn, STANDBY, limits.lag_seconds)
    if _has_repository(settings):
        yield bucket(settings)
        yield repository(settings, limits.proved_hours)
        if settings.backup_method != "dumps":
            yield shipping(settings, limits.shipping)
    if settings.redis_url is not None:
        yield valkey(settings)
    if settings.primary_data_dir is not None:
        yield disk(settings.primary_data_dir, limits.disk_free)


def _left_out(settings: Settings) -> Iterator[str]:
    if _standby(settings) is None:
        yield "No standby is looked at: neither OPS_HEALTH_STANDBY_DSN nor OPS_STANDBY_DSN is set."
    if not _has_repository(settings):
        yield "No repository is looked at: neither OPS_S3_BUCKET nor OPS_REPOSITORY_URL is set."
    elif settings.backup_method == "dumps":
        yield "Neither shipping of the log nor proved backups are looked at: OPS_BACKUP_METHOD is dumps."
    if settings.redis_url is None:
        yield "No cache is looked at: OPS_REDIS_URL is not set."
    if settings.primary_data_dir is None:
        yield "No disk is looked at: OPS_PRIMARY_DATA_DIR is not set, for the primary's is on another machine."


def _standby(settings: Settings) -> str | None:
    dsn = settings.health_standby_dsn or settings.standby_dsn
    return dsn.get_secret_value() if dsn is not None else None


def _has_repository(settings: Settings) -> bool:
    return settings.repository_url is not None or settings.s3_bucket is not None
