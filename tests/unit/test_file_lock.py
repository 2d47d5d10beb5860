"""Locks that the kernel lets go of when their holder ends, however it ends."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ops_workflows.postgres.file_lock import HeldError, file_lock, folder_lock

HOLD = """
import sys, time
from pathlib import Path
from ops_workflows.postgres.file_lock import file_lock, folder_lock
with file_lock(Path(sys.argv[1], "lock")), folder_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_held_until_its_holder_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        for lock in (file_lock(tmp_path / "lock"), folder_lock(tmp_path, patience=0.1)):
            with pytest.raises(HeldError), lock:
                pytest.fail("It is held.")
        holder.send_signal(signal.SIGKILL)
    with file_lock(tmp_path / "lock", new=False), folder_lock(tmp_path):
        pass


def test_new_or_not(tmp_path: Path) -> None:
    for absent in (file_lock(tmp_path / "lock", new=False), folder_lock(tmp_path / "folder")):
        with pytest.raises(HeldError), absent:
            pytest.fail("There is none.")
    with file_lock(tmp_path / "lock", new=True):
        pass
    with pytest.raises(HeldError), file_lock(tmp_path / "lock", new=True):
        pytest.fail("It is there.")


def test_what_was_removed_meanwhile_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for a lock may get it on a file that its holder has removed: that one protects nothing."""
    lock = tmp_path / "lock"

    def removed_while_waiting(_condition: object, _patience: float) -> bool:
        lock.unlink()
        return True

    monkeypatch.setattr("ops_workflows.postgres.file_lock.wait_until", removed_while_waiting)
    with pytest.raises(HeldError), file_lock(lock):
        pytest.fail("It protects nothing.")
