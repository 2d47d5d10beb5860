"""The application's cache: whether it lets us in, answers, and asks for a password."""

from collections.abc import Iterator
from functools import partial

from ops_workflows.health.probe import Budget, Probe, Seen
from ops_workflows.health.reading import Check, Severity, ok, warning
from ops_workflows.settings import Settings
from ops_workflows.valkey.client import connected, has_password, where


def valkey(settings: Settings) -> Probe:
    """The probe, with settings whose timeouts are short."""
    return Probe("valkey", where(settings), [Check.VALKEY], partial(_look, settings), Severity.CRITICAL)


def _look(settings: Settings, budget: Budget) -> Iterator[Seen]:
    with connected(settings, silent_seconds=budget.step()) as client:
        client.ping()
    if has_password(settings):
        yield ok(Check.VALKEY, f"{where(settings)} answers to our password.")
    else:
        said = f"{where(settings)} answers, and asks nobody for a password."
        yield warning(Check.VALKEY, said, "set requirepass, or ACL users, and OPS_REDIS_PASSWORD")
