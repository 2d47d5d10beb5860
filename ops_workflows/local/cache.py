"""The application's cache in the embedded stack: a Valkey server with a password.

Its configuration, password included, is given on standard input: arguments can be read by everybody on the machine.
"""

import socket
from contextlib import suppress

from ops_workflows.local.bundled import valkey_server
from ops_workflows.local.daemon import Daemon
from ops_workflows.local.layout import Layout
from ops_workflows.local.place import HOST, Place
from ops_workflows.settings import environment

START_SECONDS = 15


def cache(layout: Layout) -> Daemon:
    """The service, started or not."""
    return Daemon("valkey", "valkey-server", layout.service("valkey"))


def start_cache(place: Place) -> None:
    """Start it, as large as the application's own and with its eviction policy; what it held before is gone.

    Raises:
        OpsError: It did not start.
    """
    service, port, password = cache(place.layout), place.ports["valkey"], place.credentials["valkey"]
    configuration = {
        "bind": HOST,
        "port": str(port),
        "dir": f'"{service.folder}"',
        "requirepass": password,
        "maxmemory": "256mb",
        "maxmemory-policy": "allkeys-lru",
        "save": '""',
        "appendonly": "no",
        "daemonize": "no",
    }
    service.start(
        [valkey_server(place.account), "-"],
        stdin="".join(f"{name} {value}\n" for name, value in configuration.items()).encode(),
        env=environment(),
        log_file=place.layout.log("valkey"),
        account=place.account,
        is_ready=lambda: answers(port, password),
        timeout=START_SECONDS,
    )
    place.report(f"valkey: {HOST}:{port}")


def answers(port: int, password: str) -> bool:
    """Whether the server on this port lets us in with this password; one that asks for none does not count."""
    with suppress(OSError), socket.create_connection((HOST, port), timeout=2) as connection:
        replies = connection.makefile("rwb")
        replies.write(f"AUTH {password}\r\nPING\r\n".encode())
        replies.flush()
        return replies.readline() == b"+OK\r\n" and replies.readline() == b"+PONG\r\n"
    return False
