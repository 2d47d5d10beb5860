"""Ours, as a person runs it: the `ops` command in a process of its own, told by the environment where things are."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bucket import NAME, REGION
from benchmarks.contender import Restored, Stage
from benchmarks.measure import Measured, measure
from benchmarks.workplace import Workplace
from ops_workflows.settings import environment

OPS = (sys.executable, "-m", "ops_workflows")
_EXTRACT = "fetch and extract"
_IMPORT_ALL = """
import importlib, pkgutil, ops_workflows
for module in pkgutil.walk_packages(ops_workflows.__path__, "ops_workflows."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""


@dataclass(frozen=True)
class Ours:
    """This project.

    Attributes:
        name: How it is called in the table.
        codec: OPS_BACKUP_CODEC.
        tls: Whether it goes to an S3 server that speaks TLS.
        count_rows: Whether it also counts every table's rows after the backup, which no peer does.
    """

    name: str
    codec: str
    tls: bool
    count_rows: bool = False

    def missing(self) -> str | None:
        """Nothing, ever."""
        return None

    def backup(self, stage: Stage) -> Measured:
        """`ops backup`."""
        return measure([*OPS, "backup", "--json"], log=stage.folder / "ours-backup", env=self.environment(stage))

    def restore(self, stage: Stage, target: Path) -> Restored | None:
        """`ops restore`, not started. Its verification is told apart: peers do not verify what they have written."""
        command = [*OPS, "restore", "--backup=latest", f"--target-dir={target}", "--no-start", "--json"]
        done = measure(command, log=stage.folder / "ours-restore", env=self.environment(stage))
        besides = {name: float(took) for name, took in json.loads(done.output)["seconds"].items() if name != _EXTRACT}
        return Restored(done, besides)

    def environment(self, stage: Stage, **more: str) -> dict[str, str]:
        """Of a process of ours: where the server and the bucket are, and `more` settings."""
        ours = {
            "OPS_HOME": str(stage.folder),
            "OPS_BACKUP_DSN": f"postgresql:///postgres?host={stage.socket_folder}&user=postgres",
            "OPS_PG_BIN_DIR": str(stage.programs.bin_dir),
            "OPS_BACKUP_CODEC": self.codec,
            "OPS_BACKUP_COUNT_ROWS": str(self.count_rows),
            "OPS_S3_BUCKET": NAME,
            "OPS_S3_ENDPOINT_URL": stage.bucket.url,
            "OPS_S3_REGION": REGION,
            "OPS_S3_CA_FILE": str(stage.bucket.ca_file or ""),
            "OPS_S3_ACCESS_KEY_ID": stage.bucket.access_key_id,
            "OPS_S3_SECRET_ACCESS_KEY": stage.bucket.secret_access_key,
        }
        return python_environment(stage.place) | ours | more


def warm_up(place: Workplace) -> None:
    """Import all our modules once, so that they are compiled before anything of ours is measured."""
    measure([sys.executable, "-c", _IMPORT_ALL], log=place.folder / "warm-up", env=python_environment(place))


def python_environment(place: Workplace) -> dict[str, str]:
    """The environment of our own processes: none of the caller's settings, and compiled modules, as in an installation.

    A checkout has none where Python is told not to write them, and then each process would compile every import anew.
    """
    foreign = ("OPS_", "AWS_", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in environment().items() if not name.startswith(foreign)}
    return kept | {"PYTHONPYCACHEPREFIX": str(place.folder / "pycache")}
