"""A restored data directory as a server that nothing outside can reach and that reaches nothing outside.

What the source's configuration says is not followed: it may archive into the real archive, listen on the real
address, wait for a synchronous standby, follow a primary, load libraries that this machine lacks, or run cron jobs. So
the server starts from a configuration of its own, and what ALTER SYSTEM left in the data directory is overridden. What
ALTER DATABASE and ALTER ROLE left in the catalog wins over any configuration, so each of our sessions overrides it. All
that is given when a server starts and when a session begins; nothing of it is written into the data directory.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from ops_workflows.errors import ConfigurationError, DatabaseError
from ops_workflows.postgres.account import Account, hand_over
from ops_workflows.postgres.programs import Programs, run
from ops_workflows.postgres.server import LONGEST_SOCKET_PATH, Server
from ops_workflows.restore.choose import Route
from ops_workflows.restore.moment import AtLsn, AtName, AtTime, BackupEnd, Latest

_CONTROL = re.compile(r"^(max_\w+) setting:\s+(\d+)$", re.MULTILINE)
_FROM_CONTROL = {
    # Recovery refuses to begin with fewer than the source had. Name in pg_controldata -> name of the setting.
    "max_connections": "max_connections",
    "max_worker_processes": "max_worker_processes",
    "max_wal_senders": "max_wal_senders",
    "max_prepared_xacts": "max_prepared_transactions",
    "max_locks_per_xact": "max_locks_per_transaction",
}
_ALONE: Mapping[str, str] = {
    "listen_addresses": "",
    "port": "5432",
    "ssl": "off",
    "unix_socket_permissions": "0700",
    "unix_socket_group": "",
    "archive_mode": "off",
    "archive_command": "",
    "archive_library": "",
    "restore_command": "",
    "archive_cleanup_command": "",
    "recovery_end_command": "",
    "recovery_min_apply_delay": "0",
    "recovery_target_inclusive": "on",
    "primary_conninfo": "",
    "primary_slot_name": "",
    "synchronous_standby_names": "",
    "max_logical_replication_workers": "0",
    "shared_preload_libraries": "",
    "session_preload_libraries": "",
    "local_preload_libraries": "",
    "event_triggers": "off",  # one on login would run as the superuser, and alter what is to be looked at
    "hot_standby": "off",
    "autovacuum": "off",
    "logging_collector": "off",
    "log_destination": "stderr",
    "lc_messages": "C",  # its log is read for what went wrong
    "external_pid_file": "",
    "cluster_name": "ops_workflows restore",
    "shared_buffers": "128MB",
    "huge_pages": "off",
    "max_wal_size": "4GB",
    "summarize_wal": "off",
}
# Of the recovery targets at most one may be set; the source may have left one behind.
_NO_TARGET = dict.fromkeys(
    ["recovery_target", *(f"recovery_target_{kind}" for kind in ("name", "time", "xid", "lsn"))], ""
)
_SESSION: Mapping[str, str] = {
    "session_preload_libraries": "",
    "local_preload_libraries": "",
    "event_triggers": "off",
    "default_transaction_read_only": "off",
    "statement_timeout": "0",
}
_SINCE = {"summarize_wal": 17, "event_triggers": 17}


def require_socket(run_dir: Path) -> None:
    """See to it that the server's socket can lie in a folder, which need not be there yet.

    Raises:
        ConfigurationError: Its path would be longer than the kernel can take.
    """
    excess = len(os.fsencode(run_dir / f".s.PGSQL.{_ALONE['port']}")) - LONGEST_SOCKET_PATH
    if excess > 0:
        raise ConfigurationError(
            f"The socket of the restored server would lie in {run_dir}, whose path is {excess} bytes too long for the "
            "kernel: choose a target with a shorter path (for drills and checks: OPS_SCRATCH_DIR)."
        )


def isolated_server(
    programs: Programs, data_dir: Path, run_dir: Path, recovery: Mapping[str, str], account: Account | None
) -> Server:
    """A server over a restored data directory: when started it recovers, and opens a new timeline where it comes to.

    Args:
        programs: Of the data's major version.
        data_dir: As `restore` left it, not started before.
        run_dir: For its socket, its configuration and its log; made here, mode 0700.
        recovery: Settings that say how far, from `recovery_settings`.
        account: Whom it runs as.
    """
    run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    (run_dir / "postgresql.conf").write_text("# nothing of the source's own configuration\n")
    (run_dir / "pg_hba.conf").write_text("# the socket's folder lets in its owner only\nlocal all all trust\n")
    hand_over(run_dir, account)
    options = _known(_ALONE, programs)
    options |= _NO_TARGET | _needs(programs, data_dir, account)
    # A backup that was read from a standby holds its mark, with which the server would follow a primary for ever.
    (data_dir / "standby.signal").unlink(missing_ok=True)
    signal = data_dir / "recovery.signal"
    # The label is gone once recovery has begun; the signal, when it has ended.
    if (data_dir / "backup_label").exists() or signal.exists():
        signal.touch(mode=0o600)
        hand_over(signal, account)
        # Last, because PostgreSQL takes even an empty target for a second one when it comes after the real one.
        options = {name: value for name, value in options.items() if name not in recovery} | dict(recovery)
    options |= {
        "config_file": str(run_dir / "postgresql.conf"),
        "hba_file": str(run_dir / "pg_hba.conf"),
        "unix_socket_directories": str(run_dir),
    }
    log, session = run_dir / "server.log", _known(_SESSION, programs)
    return Server(programs, data_dir, log_file=log, options=options, session=session, account=account)


def recovery_settings(route: Route, restore_command: str | None, *, stay: bool) -> dict[str, str]:
    """The settings that make PostgreSQL recover along a route, and stop exactly where it ends.

    Args:
        route: Where to.
        restore_command: Gives the WAL that is not in the directory; None if all of it is.
        stay: Pause there, readable and on the old timeline, instead of being promoted.
    """
    settings = {
        "restore_command": restore_command or "false",
        "recovery_target_timeline": str(route.reach.timeline),
        "recovery_target_action": "pause" if stay else "promote",
        "hot_standby": "on" if stay else "off",
    }
    match route.moment:
        case AtTime(time):
            settings["recovery_target_time"] = time.isoformat(sep=" ")
        case AtLsn(lsn):
            settings["recovery_target_lsn"] = str(lsn)
        case AtName(name):
            settings["recovery_target_name"] = name
        case BackupEnd():
            settings["recovery_target"] = "immediate"
        case Latest():
            pass
    return settings


def _known(settings: Mapping[str, str], programs: Programs) -> dict[str, str]:
    """Without those that are younger than the server."""
    return {name: value for name, value in settings.items() if programs.major >= _SINCE.get(name, 0)}


def _needs(programs: Programs, data_dir: Path, account: Account | None) -> dict[str, str]:
    said = run(programs.path("pg_controldata"), data_dir, timeout=20, account=account)
    found = {_FROM_CONTROL[name]: value for name, value in _CONTROL.findall(said) if name in _FROM_CONTROL}
    if len(found) != len(_FROM_CONTROL):
        raise DatabaseError(f"pg_controldata says too little of {data_dir}: only {', '.join(found) or 'nothing'}.")
    return found
