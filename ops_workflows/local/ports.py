"""The ports of the embedded stack: picked free once, remembered, and picked again only where somebody took them.

A port that stays the same from one `up` to the next keeps open consoles, bookmarks and `.env` copies valid.
"""

import json
import random
import socket
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from ops_workflows.errors import ConfigurationError
from ops_workflows.local.layout import write_private

# Below the range from which kernels take the ports of outgoing connections.
FIRST, LAST = 20_000, 29_999
ATTEMPTS = 500

# SeaweedFS serves gRPC on each port of its own plus 10,000, and parts of it rely on that.
GRPC_OFFSET = 10_000
OBJECT_STORE = ("s3", "s3_master", "s3_volume", "s3_filer", "s3_admin")
NAMES = ("primary", "standby", "dagster", "valkey", *OBJECT_STORE)


def remembered(file: Path) -> dict[str, int]:
    """The ports that were remembered in `file`; none if there is no such file or it cannot be read."""
    with suppress(FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        ports = json.loads(file.read_text())["ports"]
        return {name: int(port) for name, port in ports.items() if name in NAMES}
    return {}


def remember(file: Path, ports: dict[str, int]) -> None:
    """Write them down."""
    write_private(file, json.dumps({"ports": ports}, indent=2) + "\n")


def assign(known: dict[str, int], in_use_by_us: Collection[str]) -> dict[str, int]:
    """A port for every name.

    Args:
        known: Ports from before; each is kept if it is free.
        in_use_by_us: Names whose service runs now: theirs are kept although they are taken.

    Raises:
        ConfigurationError: The machine has no free ports.
    """
    ports = {
        name: known[name] for name in NAMES if name in known and (name in in_use_by_us or _free(name, known[name]))
    }
    for name in NAMES:
        if name not in ports:
            ports[name] = _pick(name, ports.values())
    return ports


def _pick(name: str, taken: Collection[int]) -> int:
    for _ in range(ATTEMPTS):
        port = random.randint(FIRST, LAST)  # noqa: S311 - a port is no secret
        if port not in taken and _free(name, port):
            return port
    raise ConfigurationError(f"No port between {FIRST} and {LAST} of 127.0.0.1 is free: end what listens there.")


def _free(name: str, port: int) -> bool:
    wanted = (port, port + GRPC_OFFSET) if name in OBJECT_STORE else (port,)
    return all(_can_be_bound(each) for each in wanted)


def _can_be_bound(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do it: connections that have just ended do not keep a port from being listened on.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port(wanted: int) -> int:
    """`wanted` if it is free, else one that is."""
    if _can_be_bound(wanted):
        return wanted
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
