from pathlib import Path

import pytest

from ops_workflows.errors import ConfigurationError
from ops_workflows.restore.isolated import require_socket


def test_a_socket_has_room_up_to_the_kernels_last_byte() -> None:
    longest = 107 - len("/.s.PGSQL.5432")
    require_socket(Path("/" + "x" * (longest - 1)))
    for name in ("x" * longest, "é" * (longest // 2) + "x"):  # bytes count, not letters
        with pytest.raises(ConfigurationError, match="1 bytes too long for the kernel: choose a target"):
            require_socket(Path("/" + name))
