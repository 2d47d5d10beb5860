"""barman-cloud, the one peer that is a Python package: installed once, apart from ours, into a cache folder."""

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

VERSION = "3.20.1"  # Debian 12 packages 3.4, which knows no zstd
_PACKAGE = f"barman[cloud,zstandard]=={VERSION}"
_INSTALL_SECONDS = 300


def program() -> Path:
    """Where `barman-cloud-backup` is, once `missing` has found nothing."""
    return Path.home() / f".cache/ops_workflows/barman-{VERSION}/bin/barman-cloud-backup"


@cache
def missing() -> str | None:
    """Install it unless it is there; when it could not be, why, and what to do."""
    if program().exists():
        return None
    folder = program().parents[1]
    shutil.rmtree(folder, ignore_errors=True)
    commands: list[list[str | Path]] = [
        [sys.executable, "-m", "venv", folder],
        [folder / "bin/pip", "install", "--quiet", _PACKAGE],
    ]
    for command in commands:
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=_INSTALL_SECONDS)
        except (OSError, subprocess.SubprocessError):
            shutil.rmtree(folder, ignore_errors=True)
            return f"not installed: pip install {_PACKAGE} did not succeed"
    return None
