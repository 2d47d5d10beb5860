"""Data directories made from nothing: a new cluster, or a copy of a running one to stream from it.

Each is made beside its place and renamed into it when it is whole, so a data directory that exists can be started.
"""

import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

import psutil
from psycopg import sql

from ops_workflows.errors import DatabaseError
from ops_workflows.postgres.account import Account, hand_over
from ops_workflows.postgres.connection import Connection
from ops_workflows.postgres.processes import send, standing_in, wait_until
from ops_workflows.postgres.programs import Programs, run

SUPERUSER = "postgres"
_BUILTIN_LOCALES_SINCE = 17


def create_cluster(
    programs: Programs,
    data_dir: Path,
    *,
    superuser_password: str,
    configuration: Mapping[str, str],
    access_rules: str,
    account: Account | None,
) -> None:
    """Initialise a cluster with data checksums, in UTF-8, sorted by code point on every machine alike.

    Args:
        programs: PostgreSQL's programs, 17 or newer.
        data_dir: Where to; it does not exist, its parent belongs to `account`.
        superuser_password: For the role `postgres`.
        configuration: What is written into its postgresql.conf.
        access_rules: The whole of its pg_hba.conf.
        account: Whom the files belong to; None means ourselves.

    Raises:
        DatabaseError: initdb failed.
    """
    part = _empty(data_dir.with_name(data_dir.name + ".part"))
    password_file = part.with_suffix(".password")
    password_file.touch(mode=0o600)
    password_file.write_text(superuser_password + "\n")
    hand_over(password_file, account)
    builtin = ["--locale-provider=builtin"] if programs.major >= _BUILTIN_LOCALES_SINCE else []
    settings = [f"--set={name}={value}" for name, value in configuration.items()]
    try:
        run(
            programs.path("initdb"),
            *("-D", part, f"--username={SUPERUSER}", f"--pwfile={password_file}", "--auth=scram-sha-256"),
            *("--data-checksums", *builtin, "--locale=C.UTF-8", "--encoding=UTF8"),
            *settings,
            timeout=120,
            account=account,
            folder=data_dir.parent,
        )
    finally:
        password_file.unlink()
    (part / "pg_hba.conf").write_text(access_rules)
    part.rename(data_dir)


def clone_cluster(programs: Programs, source_dsn: str, data_dir: Path, *, slot: str, account: Account | None) -> None:
    """Copy a running cluster into a data directory that starts as a standby.

    Args:
        programs: PostgreSQL's programs, of the source's major version.
        source_dsn: Of a role with REPLICATION; its passfile can be read by `account`.
        data_dir: Where to; it does not exist, its parent belongs to `account`.
        slot: A physical replication slot of the source, which holds back the WAL that the copy needs.
        account: Whom the files belong to; None means ourselves.

    Raises:
        DatabaseError: pg_basebackup failed.
    """
    part = _empty(data_dir.with_name(data_dir.name + ".part"))
    run(
        programs.path("pg_basebackup"),
        *("-D", part, "-d", source_dsn, f"--slot={slot}", "--wal-method=stream", "--checkpoint=fast", "--no-password"),
        timeout=1800,
        account=account,
        folder=data_dir.parent,
    )
    (part / "standby.signal").touch(mode=0o600)
    hand_over(part / "standby.signal", account)
    part.rename(data_dir)


def set_password(connection: Connection, role: str, password: str) -> None:
    """Give `role` a password, as a scram verifier: the password itself is neither sent nor logged."""
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    statement = sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(verifier))
    connection.execute(statement)


def _empty(part: Path) -> Path:
    """Remove `part`, which a killed predecessor has left, and the programs that it had set to work on it."""

    def at_work() -> list[psutil.Process]:
        return standing_in(part.parent, {"initdb", "pg_basebackup"}) + standing_in(part, {"postgres"})

    send(at_work(), signal.SIGKILL)
    if not wait_until(lambda: not at_work(), timeout=10):
        raise DatabaseError(f"What a killed attempt set to work on {part} cannot be ended: look at those processes.")
    try:
        if part.exists():
            shutil.rmtree(part)
    except OSError as error:
        raise DatabaseError(f"{part}, left by an attempt that was killed, cannot be removed: {error}.") from error
    return part
