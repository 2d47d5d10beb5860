"""docs/break-glass.md as somebody follows it: its blocks, copied one after the other into one shell."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from ops_workflows.postgres.account import hand_over, identity, server_account
from ops_workflows.postgres.programs import find_programs
from ops_workflows.postgres.server import DataDirectory
from ops_workflows.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "break-glass.md"
_STEP = re.compile(r"^## (\d)\. ", re.MULTILINE)
_BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)
_SECONDS = 200


def steps() -> dict[int, list[str]]:
    """The blocks of each step, by its number."""
    _, *parts = _STEP.split(PAGE.read_text())
    return {int(number): _BLOCK.findall(text) for number, text in zip(parts[::2], parts[1::2], strict=True)}


def said(pattern: str) -> str:
    """What the page says to type in the midst of a sentence; `pattern` is how it begins."""
    (found,) = re.findall(rf"`({pattern}[^`]*)`", PAGE.read_text())
    return str(found)


def follow(
    script: Iterable[str], folder: Path, settings: Settings, variables: Mapping[str, str], program: str = "/bin/sh"
) -> str:
    """Type all that into one shell, as the account that servers run as, and stop at the first error.

    Args:
        script: What is typed.
        folder: A new one that the account can get to; `target` in it is the page's TARGET, and empty.
        settings: Which account, and which key.
        variables: What is in the shell's environment besides.
        program: The shell.

    Returns:
        What was printed.
    """
    account = server_account(settings.server_user)
    (folder / "target").mkdir()
    (folder / "typed").write_text("set -eu\n" + "\n".join(script))
    variables = dict(variables)
    if settings.age_identity_file:
        variables["IDENTITY"] = str(shutil.copy(settings.age_identity_file, folder / "key"))
    hand_over(folder, account)
    path = f"{find_programs(settings.pg_bin_dir).bin_dir}:{os.environ['PATH']}"
    here = {"PATH": path, "HOME": str(folder), "TARGET": str(folder / "target")}
    try:
        with (folder / "printed").open("wb") as printed:
            done = subprocess.run(
                [program, str(folder / "typed")],
                env=here | variables,
                cwd=folder,
                stdout=printed,
                stderr=subprocess.STDOUT,
                timeout=_SECONDS,
                check=False,
                **identity(account),
            )
    finally:
        DataDirectory(folder / "target/data").stop("immediate")
    text = (folder / "printed").read_text()
    assert done.returncode == 0, text[-4000:]
    return text
