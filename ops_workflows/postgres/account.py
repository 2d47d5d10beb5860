"""The account that PostgreSQL's programs run as: ours, or an unprivileged one when we are root.

PostgreSQL refuses to run as root, for good reason. Everything here is a question to the kernel or a change of owner;
who may do what is never guessed from mode bits.
"""

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from ops_workflows.errors import ConfigurationError


@dataclass(frozen=True)
class Account:
    """An unprivileged account of this machine."""

    name: str
    uid: int
    gid: int


class Identity(TypedDict, total=False):
    """The arguments of `subprocess.Popen` that make a child run as an account."""

    user: int
    group: int
    extra_groups: list[int]
    umask: int


def server_account(user: str) -> Account | None:
    """The account that servers run as: `user` when we are root, None (ourselves) otherwise.

    Raises:
        ConfigurationError: There is no such account, or it is root itself.
    """
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise ConfigurationError(
            f"PostgreSQL does not run as root and there is no account “{user}” to run it as: "
            "set OPS_SERVER_USER to an unprivileged account of this machine."
        ) from None
    if entry.pw_uid == 0:
        raise ConfigurationError(
            f"PostgreSQL does not run as root, which “{user}” is: set OPS_SERVER_USER to an unprivileged account."
        )
    return Account(user, entry.pw_uid, entry.pw_gid)


def identity(account: Account | None) -> Identity:
    """What to give `subprocess.Popen` so that the child runs as `account`, its files private; None means ourselves."""
    if account is None:
        return {"umask": 0o077}
    return {"user": account.uid, "group": account.gid, "extra_groups": [], "umask": 0o077}


def can_reach(path: Path, account: Account | None) -> bool:
    """Whether `account` can get to `path` and enter it, if it is a folder, or execute it, if it is a program."""
    if account is None:
        return os.access(path, os.X_OK)
    # A process that is the account asks the kernel: mode bits of each parent do not tell the whole truth.
    probe = ["/bin/sh", "-c", 'test -x "$1"', "sh", str(path)]
    return subprocess.run(probe, timeout=10, check=False, cwd="/", **identity(account)).returncode == 0


def make_reachable(folder: Path) -> None:
    """Make a folder, and those above it that are missing, such that every account may pass; our umask has no say."""
    if folder.is_dir():
        return
    make_reachable(folder.parent)
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)


def hand_over(path: Path, account: Account | None) -> None:
    """Make `account` the owner of `path` and of everything below it; symbolic links themselves, not what they name."""
    if account is None:
        return
    for folder, folders, files in os.walk(path):
        for name in [*folders, *files]:
            os.chown(Path(folder, name), account.uid, account.gid, follow_symlinks=False)
    os.chown(path, account.uid, account.gid, follow_symlinks=False)
