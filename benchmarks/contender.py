"""What takes part: something that can back the cluster up, and perhaps restore what it has backed up."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from benchmarks.bucket import Bucket
from benchmarks.data import Cluster
from benchmarks.measure import Measured
from benchmarks.workplace import Workplace
from ops_workflows.postgres.programs import Programs


@dataclass(frozen=True)
class Stage:
    """Where one contender has its turn, alone: an empty bucket, a cluster that is at rest, and a folder of its own."""

    place: Workplace
    programs: Programs
    cluster: Cluster
    bucket: Bucket
    folder: Path

    @property
    def socket_folder(self) -> str:
        """Where the cluster's server listens."""
        return self.cluster.server.host


@dataclass(frozen=True)
class Restored:
    """A restore up to files that are on the disk.

    Attributes:
        whole: The whole process.
        besides: Seconds of what it did besides restoring, by name.
    """

    whole: Measured
    besides: dict[str, float] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Of the restore alone."""
        return self.whole.seconds - sum(self.besides.values())


class Contender(Protocol):
    """One program in one configuration."""

    @property
    def name(self) -> str:
        """How it is called in the table; no two have the same."""

    @property
    def tls(self) -> bool:
        """Whether the S3 server that it is given speaks TLS."""

    def missing(self) -> str | None:
        """What is not installed, and what to do about it; None when it can take part."""

    def backup(self, stage: Stage, /) -> Measured:
        """Back up, measured as one whole process."""

    def restore(self, stage: Stage, target: Path, /) -> Restored | None:
        """Restore what was just backed up into an empty folder; None for those that are not compared in it."""
