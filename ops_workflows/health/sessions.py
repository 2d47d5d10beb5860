"""Connections, transactions and locks: who is there, and who holds up whom."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files

from ops_workflows.health.reading import Check, Reading, Threshold, measured, unknown
from ops_workflows.wording import counted

ACTIVITY = files(__package__).joinpath("activity.sql").read_text().encode()
CHECKS = (Check.CONNECTIONS, Check.IDLE_IN_TRANSACTION, Check.OLDEST_TRANSACTION, Check.BLOCKED_SESSIONS)


@dataclass(frozen=True, slots=True)
class Activity:
    """A row of activity.sql."""

    sees_all: bool
    most: int
    connections: int
    idle: int
    idle_seconds: float
    idle_who: str | None
    open_seconds: float
    open_who: str | None
    prepared_seconds: float
    prepared_who: str | None
    blocked: int
    blocked_seconds: float
    blockers: str | None


def judge(
    seen: Activity, connections: Threshold, idle: Threshold, oldest: Threshold, blocked: Threshold
) -> Iterator[Reading]:
    """What it comes to; a role that does not see the sessions of others knows nothing of them."""
    used = seen.connections / seen.most
    yield measured(
        Check.CONNECTIONS,
        round(used, 4),
        "of max_connections",
        connections,
        said=f"{counted(seen.connections, 'connection')} of {seen.most}.",
        do="end idle ones, put a pooler in front, or raise max_connections",
    )
    if not seen.sees_all:
        for check in CHECKS[1:]:
            yield unknown(
                check, "The role does not see the sessions of others: GRANT pg_monitor TO it, as roles.sql does."
            )
        return
    yield measured(
        Check.IDLE_IN_TRANSACTION,
        round(seen.idle_seconds, 1),
        "s",
        idle,
        said=f"{counted(seen.idle, 'session')} idle in a transaction"
        + (f", the longest for {seen.idle_seconds:,.0f} s: {seen.idle_who}." if seen.idle else "."),
        do="end it with pg_terminate_backend, and set idle_in_transaction_session_timeout",
    )
    prepared = seen.prepared_seconds > seen.open_seconds
    who = f"prepared transaction {seen.prepared_who!r}" if prepared else seen.open_who
    longest = max(seen.prepared_seconds, seen.open_seconds)
    yield measured(
        Check.OLDEST_TRANSACTION,
        round(longest, 1),
        "s",
        oldest,
        said=f"The oldest transaction is open for {longest:,.0f} s: {who}." if who else "No transaction is open.",
        do="commit it or roll it back; it keeps vacuums from cleaning up",
    )
    yield measured(
        Check.BLOCKED_SESSIONS,
        round(seen.blocked_seconds, 1),
        "s",
        blocked,
        said=f"{counted(seen.blocked, 'session')} waiting for a lock"
        + (f", the longest for {seen.blocked_seconds:,.0f} s, for pid {seen.blockers}." if seen.blocked else "."),
        do="see what that one does in pg_stat_activity, and end it if need be",
    )
