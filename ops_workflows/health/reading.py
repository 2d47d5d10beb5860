"""What a probe says: of each check how it is, what was read, from where on that is trouble, and a sentence."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from ops_workflows.errors import OpsError


class Severity(StrEnum):
    """How it is, the better first; what could not be seen is unknown, and never well."""

    OK = "ok"
    WARNING = "warning"
    UNKNOWN = "unknown"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """The higher, the worse."""
        return tuple(Severity).index(self)


class Check(StrEnum):
    """Everything that is looked at, in the order in which it is told."""

    TCP = "tcp"
    AUTH = "auth"
    TLS = "tls"
    SELECT_1 = "select_1"
    CANARY_WRITE = "canary_write"
    CANARY_ON_STANDBY = "canary_on_standby"
    ONE_PRIMARY = "one_primary"
    TIMELINE = "timeline"
    SYSTEM_IDENTIFIER = "system_identifier"
    STANDBY = "standby"
    LAG_BYTES = "lag_bytes"
    LAG_SECONDS = "lag_seconds"
    SLOTS = "slots"
    WAL_SHIPPING = "wal_shipping"
    CONNECTIONS = "connections"
    IDLE_IN_TRANSACTION = "idle_in_transaction"
    OLDEST_TRANSACTION = "oldest_transaction"
    BLOCKED_SESSIONS = "blocked_sessions"
    WRAPAROUND = "wraparound"
    DISK = "disk"
    CHECKSUM_FAILURES = "checksum_failures"
    DEADLOCKS = "deadlocks"
    INVALID_INDEXES = "invalid_indexes"
    PENDING_RESTART = "pending_restart"
    VALKEY = "valkey"
    BUCKET = "bucket"
    PROVED_BACKUP = "proved_backup"
    DIRTY_MIGRATION = "dirty_migration"
    STALE_ROLLUP = "stale_rollup"


@dataclass(frozen=True, slots=True)
class Threshold:
    """From which value on it is a warning, and from which on critical; where that is less, low values are the bad ones.

    Attributes:
        warning: Its value.
        critical: Its value.
        source: The setting that chooses both, or what else they come from.
    """

    warning: float
    critical: float
    source: str

    @classmethod
    def of(cls, levels: str, source: str) -> Self:
        """From a setting's text, two numbers with a comma between."""
        warning, critical = map(float, levels.split(","))
        return cls(warning, critical, source)

    def judge(self, value: float) -> Severity:
        """What a value comes to."""
        sign = -1 if self.critical < self.warning else 1
        if sign * value >= sign * self.critical:
            return Severity.CRITICAL
        return Severity.WARNING if sign * value >= sign * self.warning else Severity.OK


@dataclass(frozen=True, slots=True)
class Reading:
    """One check.

    Attributes:
        check: Which.
        severity: How it is.
        said: What is with it, and what to do about it where there is something to do.
        value: What was read; None where it is no number, or is not known.
        unit: Of the value and of the threshold.
        threshold: None where there is nothing to choose.
    """

    check: Check
    severity: Severity
    said: str
    value: float | None = None
    unit: str = ""
    threshold: Threshold | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        limits = self.threshold
        return {
            "check": self.check,
            "severity": self.severity,
            "said": self.said,
            "value": self.value,
            "unit": self.unit,
            "warning_from": limits and limits.warning,
            "critical_from": limits and limits.critical,
            "threshold_source": limits and limits.source,
        }


def ok(check: Check, said: str, value: float | None = None, unit: str = "") -> Reading:
    """All is well."""
    return Reading(check, Severity.OK, said, value, unit)


def warning(check: Check, said: str, do: str, value: float | None = None, unit: str = "") -> Reading:
    """It works, and will be trouble."""
    return Reading(check, Severity.WARNING, f"{said} To do: {do}.", value, unit)


def critical(check: Check, said: str, do: str, value: float | None = None, unit: str = "") -> Reading:
    """It does not work."""
    return Reading(check, Severity.CRITICAL, f"{said} To do: {do}.", value, unit)


def unknown(check: Check, said: str) -> Reading:
    """Nobody can tell."""
    return Reading(check, Severity.UNKNOWN, said)


def failed(check: Check, error: OpsError, severity: Severity = Severity.CRITICAL) -> Reading:
    """In the words of an error, which say what to do, too."""
    return Reading(check, severity, str(error))


def measured(check: Check, value: float, unit: str, threshold: Threshold, *, said: str, do: str) -> Reading:
    """A number, judged; what to do is said where it is not well."""
    severity = threshold.judge(value)
    text = said if severity is Severity.OK else f"{said} To do: {do}."
    return Reading(check, severity, text, value, unit, threshold)


def worst(readings: Iterable[Reading]) -> Severity:
    """Of all of them; unknown where there is none."""
    return max((each.severity for each in readings), key=lambda each: each.rank, default=Severity.UNKNOWN)
