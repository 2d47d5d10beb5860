"""What every service of the embedded stack is told when it is started."""

from collections.abc import Callable
from dataclasses import dataclass

from ops_workflows.local.credentials import Credentials
from ops_workflows.local.layout import Layout
from ops_workflows.postgres.account import Account
from ops_workflows.postgres.programs import Programs

HOST = "127.0.0.1"
Report = Callable[[str], None]


@dataclass(frozen=True)
class Place:
    """Where and as whom the services run, on which ports, with which passwords, and who is told about it."""

    layout: Layout
    ports: dict[str, int]
    credentials: Credentials
    programs: Programs
    account: Account | None
    report: Report
