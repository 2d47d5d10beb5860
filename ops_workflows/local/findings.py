"""What `ops doctor` says: one finding for each thing that it looked at."""

from dataclasses import dataclass
from typing import Literal

from ops_workflows.errors import OpsError


@dataclass(frozen=True)
class Finding:
    """One thing looked at: its name, how it is, what was seen, and what to do about it (empty if nothing)."""

    name: str
    state: Literal["ok", "warning", "error"]
    what: str
    do: str = ""


def ok(name: str, what: str) -> Finding:
    """All is well."""
    return Finding(name, "ok", what)


def warning(name: str, what: str, do: str) -> Finding:
    """It works, and could be better."""
    return Finding(name, "warning", what, do)


def error(name: str, what: str, do: str) -> Finding:
    """It does not work."""
    return Finding(name, "error", what, do)


def failed(name: str, reason: OpsError) -> Finding:
    """An error in the words of the exception that it raised, which say what to do, too."""
    what, _, do = str(reason).partition(" To do: ")
    return Finding(name, "error", what, do)
