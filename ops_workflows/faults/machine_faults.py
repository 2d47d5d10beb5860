"""Faults of the machine that looks: no room on its disk, programs of another version."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from shutil import disk_usage

from ops_workflows.faults import forge
from ops_workflows.faults.kinds import Fault, Made, SkippedError
from ops_workflows.faults.look import BackupLook
from ops_workflows.faults.stage import Stage
from ops_workflows.postgres.programs import find_programs
from ops_workflows.progress import BYTES, Silent
from ops_workflows.repository.rungs import Rung

_FAMILY = "machine"
_MiB = 2**20
_SMALL = 8 * _MiB
_LEFT = 2 * _MiB
_INSTALLED = Path("/usr/lib/postgresql")  # where Debian's packages put each major version
_CALL_SECONDS = 20


def faults() -> list[Fault]:
    """All of them."""
    return [
        Fault("disk: too small", _FAMILY, Rung.RESTORED, _too_small),
        Fault("disk: full while it is restored", _FAMILY, Rung.RESTORED, _full),
        Fault("programs: of another major version", _FAMILY, Rung.RESTORED, _other_programs),
        Fault("backup: of another major version than the programs", _FAMILY, Rung.RESTORED, _other_server),
        Fault("scratch folder: is a file", _FAMILY, Rung.RESTORED, _no_scratch),
    ]


@contextmanager
def _too_small(stage: Stage, _chance: Random) -> Iterator[Made]:
    with _disk(_SMALL) as folder:
        settings = stage.scene.settings.model_copy(update={"scratch_dir": folder})
        yield Made(stage.look(settings=settings), (stage.scene.backup.id, "room"))


@contextmanager
def _full(stage: Stage, _chance: Random) -> Iterator[Made]:
    """There is room enough at the beginning, and somebody else takes it meanwhile."""
    with _disk(2 * stage.scene.backup.database_bytes) as folder:
        settings = stage.scene.settings.model_copy(update={"scratch_dir": folder})
        backup = stage.scene.backup
        yield Made(BackupLook(settings, backup.system, backup.id, _Filling(folder)), (str(folder),))


class _Filling(Silent):
    """Takes nearly all the room there is when a restore begins to write."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin(self, phase: str, total: int | None, unit: str = BYTES) -> None:
        """A phase begins."""
        super().begin(phase, total, unit)
        if phase == "fetch and extract":
            with (self._folder / "filler").open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, disk_usage(self._folder).free - _LEFT)


@contextmanager
def _other_programs(stage: Stage, _chance: Random) -> Iterator[Made]:
    settings = stage.scene.settings
    ours = find_programs(settings.pg_bin_dir).major
    folder = next((found / "bin" for found in _majors() if found.name != str(ours)), None)
    if folder is None:
        raise SkippedError(f"No other major version than {ours} is installed in {_INSTALLED}.")
    other = settings.model_copy(update={"pg_bin_dir": folder})
    yield Made(stage.look(settings=other), (str(folder), f"PostgreSQL {ours}"))


@contextmanager
def _other_server(stage: Stage, _chance: Random) -> Iterator[Made]:
    scene = stage.scene
    older = scene.backup.major - 1
    with forge.forged(scene.repository, scene.backup, {}, {"server_version": older * 10_000 + 1}):
        yield Made(stage.look(), (f"PostgreSQL {older}",))


@contextmanager
def _no_scratch(stage: Stage, _chance: Random) -> Iterator[Made]:
    with tempfile.NamedTemporaryFile(prefix="ops_faults_") as file:
        settings = stage.scene.settings.model_copy(update={"scratch_dir": Path(file.name)})
        yield Made(stage.look(settings=settings), (file.name,))


def _majors() -> list[Path]:
    return [folder for folder in sorted(_INSTALLED.glob("*")) if (folder / "bin/postgres").is_file()]


@contextmanager
def _disk(size: int) -> Iterator[Path]:
    """A disk of so many bytes, for the length of a `with`.

    Raises:
        SkippedError: We may not mount one.
    """
    if os.geteuid() != 0:
        raise SkippedError("Only root may mount a disk that is small enough.")
    with tempfile.TemporaryDirectory(prefix="ops_faults_") as name:
        folder = Path(name)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0711", "ops_faults", name]
        done = subprocess.run(mount, capture_output=True, text=True, timeout=_CALL_SECONDS, check=False)
        if done.returncode != 0:
            raise SkippedError(f"No disk that is small enough can be mounted: {done.stderr.strip()}.")
        folder.parent.joinpath(folder.name).chmod(0o711)
        try:
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", name], timeout=_CALL_SECONDS, check=True)
