"""What drills showed and measured: one record for each in the bucket, with a page for people beside it.

drills/<drill id>/drill.json  report.html
"""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from ops_workflows.repository.backup import read
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.layout import Layout
from ops_workflows.settings import Settings

DRILL = "drill.json"
REPORT = "report.html"
_READERS = 8


class DrillCheck(BaseModel):
    """One thing that a drill looked at."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = Field(description="rto, rpo, booted, sound, exact or smoke.")
    passed: bool | None = Field(description="None: it could not be looked at, or was not; the finding says why.")
    finding: str = Field(description="One sentence.")


class DrillRecord(BaseModel):
    """One drill."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str = Field(description="Sorts by time; of the form of a backup's id.")
    system: str = Field(description="PostgreSQL's system identifier.")
    at: datetime = Field(description="When “go” was said.")
    backup_id: str
    backups: int = Field(description="How many backups were put together; 1 for a full one.")
    backup_finished_at: datetime
    timeline: int = Field(description="On which it ended.")
    moment: str = Field(description="Where it was recovered to.")
    chosen: str = Field(description="Why this backup and this moment, in words.")
    database_bytes: int
    stored_bytes: int = Field(description="Bytes in the bucket of all backups that were put together.")
    wal_bytes: int = Field(description="WAL that was to be replayed.")
    rto_seconds: float | None = Field(description="From “go” to the first answer; null if none came.")
    rto_objective_seconds: int
    rpo_seconds: float | None = Field(description="Age at “go” of the newest row that the bucket could give back.")
    rpo_objective_seconds: int
    seconds: dict[str, float] = Field(description="Of each phase, in order; those of checks begin with “check: ”.")
    checks: tuple[DrillCheck, ...]
    versions: dict[str, str] = Field(description="Of the programs that took part.")

    @property
    def passed(self) -> bool:
        """Whether nothing failed, and both objectives were measured and kept."""
        outcomes = {check.name: check.passed for check in self.checks}
        return False not in outcomes.values() and outcomes.get("rto") is True and outcomes.get("rpo") is True

    def check(self, name: str) -> DrillCheck:
        """One of its checks."""
        return next(check for check in self.checks if check.name == name)

    def figures(self) -> dict[str, float | int | str]:
        """Its numbers, flat."""
        figures: dict[str, float | int | str] = {
            "drill_id": self.id,
            "backup_id": self.backup_id,
            "moment": self.moment,
            "database_bytes": self.database_bytes,
            "stored_bytes": self.stored_bytes,
            "wal_bytes": self.wal_bytes,
        }
        measured = {"rto_seconds": self.rto_seconds, "rpo_seconds": self.rpo_seconds}
        figures |= {name: round(seconds, 2) for name, seconds in measured.items() if seconds is not None}
        return figures | {f"seconds: {phase}": round(seconds, 3) for phase, seconds in self.seconds.items()}


def drill_ids(repository: Repository) -> list[str]:
    """Of every drill there was, oldest first.

    Raises:
        StorageError: The bucket did not answer.
    """
    prefix = repository.layout.drills
    keys = (found.key.removeprefix(prefix) for found in repository.store.objects(prefix))
    return sorted(key.partition("/")[0] for key in keys if key.endswith(f"/{DRILL}"))


def drills(repository: Repository, most: int = 100) -> list[DrillRecord]:
    """The records of the newest drills, oldest first.

    Raises:
        IntegrityError: One cannot be read.
        StorageError: The bucket did not answer.
    """
    keys = [f"{repository.layout.drills}{each}/{DRILL}" for each in drill_ids(repository)[-most:]]
    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(lambda key: read(DrillRecord, repository.store.get(key), key), keys))


def report_location(settings: Settings, record: DrillRecord) -> str:
    """Where the page of a drill lies, as a URL of the repository's own kind: s3:// or file://."""
    key = f"{Layout(settings.repository_prefix, record.system).drills}{record.id}/{REPORT}"
    folder = settings.repository_folder
    return (folder / key).as_uri() if folder else f"s3://{settings.s3_bucket}/{key}"


def store_drill(repository: Repository, record: DrillRecord, report: str) -> str:
    """Keep a drill and its page, the record last; the key of the page.

    Raises:
        StorageError: The bucket did not take it.
    """
    folder = f"{repository.layout.drills}{record.id}/"
    repository.store.put(folder + REPORT, report.encode(), if_absent=True)
    repository.store.put(folder + DRILL, record.model_dump_json(indent=2).encode(), if_absent=True)
    return folder + REPORT
