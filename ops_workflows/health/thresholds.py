"""From where on something is trouble, as the settings choose it."""

from dataclasses import dataclass
from typing import Self

from ops_workflows.health.reading import Threshold
from ops_workflows.settings import Settings

_HALF = 0.5


@dataclass(frozen=True, slots=True)
class Thresholds:
    """One for each kind of value; units as the settings say."""

    connections: Threshold
    idle: Threshold
    transaction: Threshold
    blocked: Threshold
    lag_bytes: Threshold
    lag_seconds: Threshold
    slot_bytes: Threshold
    age: Threshold
    disk_free: Threshold
    deadlocks: Threshold
    proved_hours: Threshold
    rollup_hours: Threshold
    shipping: Threshold

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Those that an installation chooses."""

        def chosen(name: str) -> Threshold:
            return Threshold.of(getattr(settings, name), f"OPS_{name.upper()}")

        objective = settings.rpo_objective_seconds
        return cls(
            connections=chosen("health_connections"),
            idle=chosen("health_idle_seconds"),
            transaction=chosen("health_transaction_seconds"),
            blocked=chosen("health_blocked_seconds"),
            lag_bytes=chosen("health_lag_bytes"),
            lag_seconds=chosen("health_lag_seconds"),
            slot_bytes=chosen("health_slot_bytes"),
            age=chosen("health_age"),
            disk_free=chosen("health_disk_free"),
            deadlocks=chosen("health_deadlocks"),
            proved_hours=chosen("health_proved_hours"),
            rollup_hours=chosen("health_rollup_hours"),
            shipping=Threshold(objective * _HALF, objective, "half of OPS_RPO_OBJECTIVE_SECONDS, and all of it"),
        )
