"""What drills showed and measured: one record for each in the bucket, with a page for people beside it.

drills/<drill id>/drill.json  report.html
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from ops_workflows.repository.backup import utc_now
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.layout import Layout
from ops_workflows.repository.proofs import happened, is_ahead, read_each
from ops_workflows.settings import Settings

DRILL = "drill.json"
REPORT = "report.html"
_TIME = "%Y%m%dT%H%M%SZ"
_KEY = re.compile(rf".*/(?P<id>(?P<at>\d{{8}}T\d{{6}}Z)-[0-9a-f]{{4}})/{re.escape(DRILL)}")


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
    at: AwareDatetime = Field(description="When “go” was said.")
    backup_id: str
    backups: int = Field(description="How many backups were put together; 1 for a full one.")
    backup_finished_at: AwareDatetime
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
    return sorted(listed.id for listed in _listed(repository))


@dataclass(frozen=True, slots=True)
class PastDrills:
    """Drills that there were.

    Attributes:
        readable: Oldest first.
        passed_over: Why each of the others counts for nothing, a sentence by its id: it cannot be read, or is of a time
            that has not come.
    """

    readable: tuple[DrillRecord, ...]
    passed_over: Mapping[str, str]


def drills(repository: Repository, most: int = 100) -> list[DrillRecord]:
    """The records of the newest drills, oldest first, but for those that count for nothing.

    Raises:
        StorageError: The bucket did not answer.
    """
    return list(past_drills(repository, most).readable)


def past_drills(repository: Repository, most: int = 100) -> PastDrills:
    """The same, with what had to be passed over.

    Raises:
        StorageError: The bucket did not answer.
    """
    now, passed_over, real = utc_now(), dict[str, str](), list[_Listed]()
    for each in _listed(repository):
        if is_ahead(each.at, now):
            passed_over[each.id] = f"Drill {each.id} counts for nothing: its time has not come, so a clock was ahead."
        else:
            real.append(each)
    wanted = {each.key: each.id for each in sorted(real, key=lambda each: (each.by, each.id))[-most:]}
    found, damaged = read_each(DrillRecord, repository.store, wanted)
    another = {key: f"{key} is the record of {done.id}." for key, done in found.items() if done.id != wanted[key]}
    damaged |= another
    passed_over |= {wanted[key]: f"Drill {wanted[key]} counts for nothing: {why}" for key, why in damaged.items()}
    return PastDrills(tuple(done for key, done in found.items() if key not in another), passed_over)


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


@dataclass(frozen=True, slots=True)
class _Listed:
    """A drill, by its record's name.

    Attributes:
        at: When it began, as it says.
        by: By when it had.
    """

    key: str
    id: str
    at: datetime
    by: datetime


def _listed(repository: Repository) -> Iterator[_Listed]:
    for found in repository.store.objects(repository.layout.drills):
        if name := _KEY.fullmatch(found.key):
            at = datetime.strptime(name["at"], _TIME).replace(tzinfo=UTC)
            yield _Listed(found.key, name["id"], at, happened(at, found))
