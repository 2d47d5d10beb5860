"""Logical dumps by PostgreSQL's own programs: pg_dump and pg_dumpall write them, pg_restore reads them, as streams."""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ops_workflows.errors import RefusedError
from ops_workflows.postgres.connection import Connection
from ops_workflows.postgres.pipe import Ran, drain, feed
from ops_workflows.postgres.programs import Programs, run

LOCK_SECONDS = 60  # how long a dump waits for a table that somebody has locked against reading
_ENTRY = re.compile(r"^\d+; \d+ (\d+) (.*)$", re.MULTILINE)
_NAMES_METHOD = 16  # from this version on, --compress takes the name of a method
_GLOBALS_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a dump's table of contents.

    Attributes:
        line: As pg_restore wrote it and wants it back.
        oid: Of the object in the dumped database; of a table for its data.
        what: Its kind, schema, name and owner, separated by spaces.
    """

    line: str
    oid: int
    what: str


def refuse_older(programs: Programs, server_version: int) -> None:
    """Make sure that pg_dump knows all that the server may hold.

    Raises:
        RefusedError: It is older than the server.
    """
    major = server_version // 10_000
    if programs.major < major:
        raise RefusedError(
            f"pg_dump in {programs.bin_dir} is PostgreSQL {programs.major} and cannot dump PostgreSQL {major}: set "
            f"OPS_PG_BIN_DIR to programs of PostgreSQL {major} or newer, or leave it out to use the bundled ones."
        )


@contextmanager
def for_programs(dsn: str, connection: Connection) -> Iterator[str]:
    """A connection string for programs, which reaches the very server that `connection` does and has no password in it.

    Of several hosts in a DSN, or several addresses of one, a program might choose another, where the snapshot that it
    is to read does not exist. A password that the DSN itself has is put into a passfile in memory.

    Args:
        dsn: What `connection` was made with.
        connection: Its database is that of the string.
    """
    info = connection.info
    parts = conninfo_to_dict(dsn)
    inline = parts.pop("password", None)
    parts |= {"host": info.host, "port": str(info.port), "user": info.user, "dbname": info.dbname}
    parts |= {"hostaddr": info.hostaddr or None, "application_name": "ops_workflows dump", "target_session_attrs": None}
    with ExitStack() as held:
        if inline or (info.password and "passfile" not in parts):
            parts["passfile"] = held.enter_context(_passfile(info.password))
        yield make_conninfo("", **{name: value for name, value in parts.items() if value is not None})


@contextmanager
def _passfile(password: str) -> Iterator[str]:
    """The path of a passfile in memory, which our children can open; a kill of ours takes it along."""
    handle = os.memfd_create("passfile")
    try:
        os.fchmod(handle, 0o600)
        escaped = password.replace("\\", "\\\\").replace(":", "\\:")
        os.write(handle, f"*:*:*:*:{escaped}\n".encode())
        yield f"/proc/{os.getpid()}/fd/{handle}"
    finally:
        os.close(handle)


def dump(
    programs: Programs,
    conninfo: str,
    snapshot: str,
    *,
    zstd_level: int,
    in_recovery: bool,
    into: Callable[[bytes], None],
    stall_seconds: float,
) -> Ran:
    """Dump one database in pg_dump's custom format, as of a snapshot that another session has exported and holds.

    Raises:
        DatabaseError: pg_dump failed or fell silent.
    """
    return drain(
        programs.path("pg_dump"),
        *("--format=custom", f"--snapshot={snapshot}", f"--lock-wait-timeout={LOCK_SECONDS}s", "--no-password"),
        f"--compress=zstd:{zstd_level}" if programs.major >= _NAMES_METHOD else "--compress=6",
        *(["--no-unlogged-table-data"] if in_recovery else []),
        f"--dbname={conninfo}",
        into=into,
        stall_seconds=stall_seconds,
    )


def dump_globals(programs: Programs, conninfo: str, database: str) -> str:
    """Roles and tablespaces as SQL, without passwords.

    Raises:
        DatabaseError: pg_dumpall failed.
    """
    return run(
        programs.path("pg_dumpall"),
        *("--globals-only", "--no-role-passwords", "--no-password", f"--database={database}", f"--dbname={conninfo}"),
        timeout=_GLOBALS_SECONDS,
    )


def entries(programs: Programs, dumped: Iterator[bytes]) -> list[Entry]:
    """The table of contents of a dump; only the beginning of the stream is read.

    Raises:
        DatabaseError: It is no dump.
    """
    ran = feed(programs.path("pg_restore"), "--list", source=dumped, timeout=_GLOBALS_SECONDS)
    if ran.code != 0:
        raise ran.failure("pg_restore")
    return [Entry(found[0], int(found[1]), found[2]) for found in _ENTRY.finditer(ran.out)]


def load(
    programs: Programs,
    dumped: Iterator[bytes],
    conninfo: str,
    *,
    wanted: Iterable[Entry] | None,
    timeout: float,
) -> Ran:
    """Load from a dump into a database, without its owners, privileges, and what reaches out to other servers.

    Args:
        programs: As new as those that made the dump.
        dumped: The dump.
        conninfo: Of the database; without a password.
        wanted: What to load, up to the first that cannot be. None: what comes before the data, as far as it can be.
        timeout: Seconds.

    Returns:
        How pg_restore ended, well or not.

    Raises:
        DatabaseError: It took too long.
    """
    with TemporaryDirectory(prefix="ops_") as folder:
        chosen = Path(folder, "list")
        chosen.write_text("".join(f"{entry.line}\n" for entry in wanted or ()))
        return feed(
            programs.path("pg_restore"),
            *("--no-owner", "--no-privileges", "--no-tablespaces", "--no-security-labels", "--no-password"),
            *("--no-publications", "--no-subscriptions", f"--dbname={conninfo}"),
            *(["--section=pre-data"] if wanted is None else ["--exit-on-error", f"--use-list={chosen}"]),
            source=dumped,
            timeout=timeout,
        )
