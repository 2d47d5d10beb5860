"""Who we are, for whoever reads later what was done."""

import getpass
import socket


def who() -> str:
    """The account and the host, as `name@host`."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a container's user that no file names
        name = "unknown"
    return f"{name}@{socket.gethostname()}"
