"""One PostgreSQL server over one data directory: started, waited for, stopped until nothing of it is left.

The server is the `postgres` program itself, in a session of its own, standing in its data directory. Whether it runs
is asked of the kernel (see `processes`), so a second process, or the next run after a kill -9, finds it again.
"""

import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

import psutil
from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn, Ping

from ops_workflows.errors import ConfigurationError, DatabaseError
from ops_workflows.postgres.account import Account, can_reach
from ops_workflows.postgres.processes import last_words, launch, send, size_of, standing_in, wait_until
from ops_workflows.postgres.programs import Programs
from ops_workflows.settings import environment

LONGEST_SOCKET_PATH = 107  # bytes, of the kernel's sockaddr_un
STATUS_LINE = 7  # of postmaster.pid, counted from 0: “starting”, “ready”, “stopping”, “standby”


class DataDirectory:
    """A data directory, and what runs over it; that much needs no programs and no configuration."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.resolve()

    def running_processes(self) -> list[psutil.Process]:
        """Every living process of the server over it, the postmaster and its children, whoever started them."""
        return standing_in(self.data_dir, {"postgres"})

    def postmaster(self) -> psutil.Process | None:
        """The postmaster, if it lives: the one process of this server that its pid file names."""
        lines = self._pid_file()
        return next((process for process in self.running_processes() if lines[:1] == [str(process.pid)]), None)

    def status(self) -> str:
        """What the server says of itself: “starting”, “ready”, “stopping”, “standby”, or “down”."""
        if self.postmaster() is None:
            return "down"
        lines = self._pid_file()
        return lines[STATUS_LINE].strip() if len(lines) > STATUS_LINE else "starting"

    def stop(self, mode: Literal["fast", "immediate"] = "fast", timeout: float = 30) -> None:
        """Stop the server and wait until all its processes are gone; one that does not run is no error.

        A stop that is not done after `timeout` seconds becomes harsher: immediate, then a kill. No committed row is
        lost by that; the next start recovers from the WAL.

        Raises:
            DatabaseError: A process of it cannot be ended even so.
        """
        if (postmaster := self.postmaster()) is not None:
            send([postmaster], signal.SIGINT if mode == "fast" else signal.SIGQUIT)
            wait_until(lambda: not self.running_processes(), timeout)
        self.clear_remains()

    def clear_remains(self, timeout: float = 3) -> None:
        """End what runs over the data directory, if anything does, and remove the pid file once nothing does.

        Raises:
            DatabaseError: A process cannot be ended.
        """
        for harshness in (signal.SIGQUIT, signal.SIGKILL):
            send(self.running_processes(), harshness)
            if wait_until(lambda: not self.running_processes(), timeout):
                # PostgreSQL itself trusts the pid in it, which by now may be any other process of the same account.
                (self.data_dir / "postmaster.pid").unlink(missing_ok=True)
                return
        pids = ", ".join(str(process.pid) for process in self.running_processes())
        raise DatabaseError(f"Processes of the server over {self.data_dir} cannot be ended (pid {pids}): look at them.")

    def _pid_file(self) -> list[str]:
        with suppress(FileNotFoundError):
            return (self.data_dir / "postmaster.pid").read_text().splitlines()
        return []


class Server(DataDirectory):
    """A server over a data directory; constructing one starts nothing and touches nothing."""

    def __init__(
        self,
        programs: Programs,
        data_dir: Path,
        *,
        log_file: Path,
        options: Mapping[str, str],
        account: Account | None,
        session: Mapping[str, str] | None = None,
    ) -> None:
        """Describe a server.

        Args:
            programs: PostgreSQL's programs, of the major version of the data.
            data_dir: Its data directory, owned by `account`, mode 0700.
            log_file: What it logs is appended here; the folder exists.
            options: Configuration that overrides its files, such as `port` and `listen_addresses`. With an empty
                `listen_addresses` and a `unix_socket_directories` it listens on a private socket only.
            account: Whom it runs as, from `server_account`.
            session: Settings with which each session of `dsn` begins, without spaces; they win over what ALTER DATABASE
                and ALTER ROLE say.

        Raises:
            ConfigurationError: The path of its socket would be longer than the kernel can take.
        """
        super().__init__(data_dir)
        self.programs = programs
        self.log_file = log_file
        self.options = dict(options)
        self.account = account
        self.session = dict(session or {})
        self.port = int(options.get("port", "5432"))
        sockets = options.get("unix_socket_directories", "")
        if len(f"{sockets}/.s.PGSQL.{self.port}".encode()) > LONGEST_SOCKET_PATH:
            raise ConfigurationError(
                f"A socket in {sockets} would have a path of more than {LONGEST_SOCKET_PATH} bytes, which the kernel "
                "refuses: use a folder with a shorter path (OPS_HOME, OPS_SCRATCH_DIR)."
            )
        self.host = sockets or options.get("listen_addresses", "127.0.0.1").split(",")[0]

    def dsn(self, database: str = "postgres", user: str = "postgres") -> str:
        """A libpq connection string to this server; it carries no password."""
        begins = {"options": " ".join(f"-c {name}={value}" for name, value in self.session.items())}
        more = begins if self.session else {}
        return make_conninfo(host=self.host, port=self.port, dbname=database, user=user, connect_timeout=5, **more)

    def is_ready(self) -> bool:
        """Whether this very server accepts connections; a standby does once it is consistent."""
        # Its own word first: on the port alone, somebody else's server might answer.
        return self.status() == "ready" and PGconn.ping(self.dsn().encode()) == Ping.OK

    def start(self, timeout: float = 60) -> None:
        """Start the server and wait until it accepts connections; one that runs already is only waited for.

        What a killed predecessor left, processes or a stale `postmaster.pid`, is cleared away first. However this
        call fails, no process is left.

        Raises:
            ConfigurationError: Its account cannot enter the data directory.
            DatabaseError: It ended, or was not ready in time; the text has its last words.
        """
        if not can_reach(self.data_dir, self.account):
            raise ConfigurationError(
                f"{self.data_dir} cannot be entered by {self.account.name if self.account else 'us'}, whom PostgreSQL "
                "runs as: choose a folder that can be (OPS_HOME, OPS_SCRATCH_DIR)."
            )
        logged_before = size_of(self.log_file)
        ready = False
        try:
            if self.postmaster() is None:
                self.clear_remains()
                self._launch()
            wait_until(lambda: self.is_ready() or not self.running_processes(), timeout)
            ready = self.is_ready()
            state = f"was not ready after {timeout:.0f} seconds" if self.running_processes() else "ended while starting"
        finally:
            if not ready:
                self.stop("immediate", timeout=5)
        if not ready:
            said = last_words(self.log_file, since=logged_before)
            raise DatabaseError(
                f"The PostgreSQL server over {self.data_dir} {state}; it said:\n  {said}\nIts log is {self.log_file}."
            )

    def _launch(self) -> None:
        options = [part for name, value in self.options.items() for part in ("-c", f"{name}={value}")]
        # A home that the account cannot look into makes libpq fail over certificates that are not even there.
        env = environment(**({"HOME": str(self.data_dir)} if self.account else {}))
        command = [str(self.programs.path("postgres")), "-D", str(self.data_dir), *options]
        launch(command, folder=self.data_dir, log_file=self.log_file, account=self.account, env=env)
