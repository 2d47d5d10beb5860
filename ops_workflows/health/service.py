"""The database as its users meet it: whether it is there, lets us in, answers, takes a row, and passes it on."""

import secrets
import socket
import time
from collections.abc import Iterator
from functools import partial
from ipaddress import ip_address

from ops_workflows.errors import DatabaseError
from ops_workflows.health.evidence import sight
from ops_workflows.health.probe import Budget, Probe, Seen
from ops_workflows.health.reading import Check, Reading, Severity, Threshold, critical, failed, measured, ok, unknown
from ops_workflows.health.session import hurried
from ops_workflows.postgres.connection import Connection, describe, endpoints
from ops_workflows.postgres.processes import wait_until

_SLOW_ANSWER = Threshold(0.5, 2, "what a person notices, and what applications give up at")
_SLOW_COMMIT = Threshold(1, 3, "deadlock_timeout; what a round gives a statement")
_SIGNS_OF_TLS = ("SSL", "certificate")  # in what libpq says where that fails


def service(dsn: str, way: str, standby: str | None, lag: Threshold) -> Probe:
    """The probe.

    Args:
        dsn: Of a role that may write heartbeats.
        way: The setting that has it.
        standby: Where what was written is read again; None for nowhere.
        lag: Seconds that this may take.
    """
    checks = [Check.TCP, Check.AUTH, Check.TLS, Check.SELECT_1, Check.CANARY_WRITE]
    if standby is not None:
        checks.append(Check.CANARY_ON_STANDBY)
    look = partial(_look, dsn, way, standby, lag)
    return Probe("service", describe(dsn), checks, look, Severity.CRITICAL)


def _look(dsn: str, way: str, standby: str | None, lag: Threshold, budget: Budget) -> Iterator[Seen]:
    reached = _reach(dsn, budget)
    yield reached
    if reached.severity is not Severity.OK:
        return
    began = time.monotonic()
    try:
        with hurried(dsn, budget) as connection:
            taken = time.monotonic() - began
            yield ok(Check.AUTH, f"{describe(dsn)} is let in, in {taken:.3f} s.", round(taken, 4), "s")
            yield _encrypted(connection, dsn)
            began = time.monotonic()
            connection.execute("SELECT 1")
            taken = time.monotonic() - began
            do = "see what the server is busy with: ops health, pg_stat_activity"
            yield measured(
                Check.SELECT_1, round(taken, 4), "s", _SLOW_ANSWER, said=f"It answers in {taken * 1000:.1f} ms.", do=do
            )
            yield sight(connection, way)
            yield from _canary(connection, standby, lag, budget)
    except DatabaseError as error:
        if "Cannot connect" in str(error) and any(sign in str(error) for sign in _SIGNS_OF_TLS):
            yield unknown(Check.AUTH, "It was not come to: the connection could not be encrypted.")
            yield failed(Check.TLS, error)
            return
        raise


def _reach(dsn: str, budget: Budget) -> Reading:
    """Whether any of the servers that a DSN names takes a connection."""
    trouble = []
    for host, port in endpoints(dsn):
        began = time.monotonic()
        try:
            _knock(host, port, budget.step())
        except OSError as error:
            trouble.append(f"{host}:{port} does not ({error.strerror or error})")
            continue
        taken = time.monotonic() - began
        rest = f" {', '.join(trouble)}." if trouble else ""
        return ok(Check.TCP, f"{host}:{port} takes connections, in {taken * 1000:.1f} ms.{rest}", round(taken, 4), "s")
    do = "start the server, or see what is between us and it"
    return critical(Check.TCP, f"Nobody takes connections: {', '.join(trouble)}.", do)


def _knock(host: str, port: int, seconds: int) -> None:
    if host.startswith("/"):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(seconds)
            connection.connect(f"{host}/.s.PGSQL.{port}")
        return
    with socket.create_connection((host, port), seconds):
        pass


def _encrypted(connection: Connection, dsn: str) -> Reading:
    if connection.pgconn.ssl_in_use:
        return ok(Check.TLS, "The connection is encrypted.", 1)
    if all(_stays_here(host) for host, _ in endpoints(dsn)):
        return ok(Check.TLS, "The connection is not encrypted, and does not leave this machine.", 0)
    return Reading(
        Check.TLS,
        Severity.WARNING,
        "The connection goes over the network unencrypted. To do: set ssl = on, and sslmode=verify-full in the DSN.",
        0,
    )


def _stays_here(host: str) -> bool:
    if host == "localhost" or host.startswith("/"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _canary(connection: Connection, standby: str | None, lag: Threshold, budget: Budget) -> Iterator[Reading]:
    there = connection.execute("SELECT to_regclass('ops.heartbeat')").fetchone()
    if there == (None,):
        yield unknown(Check.CANARY_WRITE, "There is no table ops.heartbeat to write to: run `ops migrate up`.")
        if standby is not None:
            yield unknown(Check.CANARY_ON_STANDBY, "None was written.")
        return
    began = time.monotonic()
    sender = f"health {secrets.token_hex(8)}"
    row = connection.execute("INSERT INTO ops.heartbeat (sender) VALUES (%s) RETURNING seq", [sender]).fetchone()
    committed = time.monotonic()
    taken = committed - began
    try:
        do = "see what commits wait for: the disk, or a synchronous standby that is gone"
        said = f"A row is committed in {taken * 1000:.1f} ms."
        yield measured(Check.CANARY_WRITE, round(taken, 4), "s", _SLOW_COMMIT, said=said, do=do)
        if standby is not None:
            yield _on_standby(standby, sender, committed, lag, budget)
    finally:
        connection.execute("DELETE FROM ops.heartbeat WHERE seq = %s", row)


def _on_standby(dsn: str, sender: str, committed: float, lag: Threshold, budget: Budget) -> Reading:
    check = Check.CANARY_ON_STANDBY
    # Among the newest by their key: the table has no other index.
    query = "SELECT FROM (SELECT sender FROM ops.heartbeat ORDER BY seq DESC LIMIT 100) AS newest WHERE sender = %s"
    try:
        with hurried(dsn, budget) as connection:
            seconds = budget.step()
            came = wait_until(lambda: connection.execute(query, [sender]).rowcount == 1, seconds)
    except DatabaseError as error:
        return failed(check, error, Severity.UNKNOWN)
    taken = time.monotonic() - committed
    if came:
        said = f"It can be read on the standby within {taken:.3f} s."
        return measured(check, round(taken, 4), "s", lag, said=said, do="see what holds up its replay")
    severity = max(Severity.WARNING, lag.judge(taken), key=lambda each: each.rank)
    said = f"It is not on the standby after {taken:.1f} s. To do: see whether it streams, and what holds up its replay."
    return Reading(check, severity, said, round(taken, 4), "s", lag)
