"""The disk that the primary's data lie on, where that is this machine's."""

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ops_workflows.health.probe import Budget, Probe, Seen
from ops_workflows.health.reading import Check, Threshold, measured, unknown


def disk(folder: Path, threshold: Threshold) -> Probe:
    """The probe: the fraction that is free. A file system that hangs is as any other thing that does."""
    return Probe("disk", str(folder), [Check.DISK], partial(_look, folder, threshold))


def _look(folder: Path, threshold: Threshold, _budget: Budget) -> Iterator[Seen]:
    try:
        total, _, free = shutil.disk_usage(folder)
    except OSError as error:
        yield unknown(Check.DISK, f"{folder} cannot be looked at ({error.strerror}): correct OPS_PRIMARY_DATA_DIR.")
        return
    said = f"{free / 1e9:,.1f} of {total / 1e9:,.1f} GB are free at {folder}."
    do = "see what grows (log that a slot keeps, bloat), or enlarge the disk, before the server stops"
    yield measured(Check.DISK, round(free / total, 4), "free", threshold, said=said, do=do)
