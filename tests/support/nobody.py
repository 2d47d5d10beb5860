"""Questions asked as somebody to whom things are refused: as root, everything can be read and written."""

import os
import warnings
from collections.abc import Callable

from ops_workflows.errors import OpsError

NOBODY = 65534


def as_nobody(ask: Callable[[], object]) -> str:
    """What a question's answer, or the error that it raises, says; in a fork, for nobody may not read this project."""
    reader, writer = os.pipe()
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of forking while there are threads
        pid = os.fork()
    if pid == 0:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            try:
                said = str(ask())
            except OpsError as error:
                said = str(error)
            os.write(writer, said.encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        said = answer.read()
    os.waitpid(pid, 0)
    return said
