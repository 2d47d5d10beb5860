"""What rehearsals of migrations showed: one record for each in the bucket.

rehearsals/<rehearsal id>/rehearsal.json
"""

import re
from collections.abc import Mapping

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.proofs import read_each

RECORD = "rehearsal.json"
MODES = (
    *("AccessShareLock", "RowShareLock", "RowExclusiveLock", "ShareUpdateExclusiveLock"),
    *("ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock"),
)
"""Of locks on tables, as pg_locks calls them, the weakest first.

https://www.postgresql.org/docs/current/explicit-locking.html#LOCKING-TABLES
"""
KEEPS_OUT = frozenset(MODES[4:])
"""Modes that keep others from writing a table, the last from reading it as well."""
_KEY = re.compile(rf".*/(?P<id>\d{{8}}T\d{{6}}Z-[0-9a-f]{{4}})/{re.escape(RECORD)}")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class LockTold(_Frozen):
    """A lock on a table that was there before the file."""

    table: str
    mode: str = Field(description="As pg_locks calls it, such as AccessExclusiveLock.")
    seconds: float = Field(description="From when it was had to the end of the transaction.")


class StatementTold(_Frozen):
    """What one statement did."""

    line: int = Field(description="In which it begins, from 1.")
    text: str = Field(description="Its beginning.")
    seconds: float
    waited_seconds: float = Field(description="Of these, those for which it waited for locks.")
    locks: tuple[LockTold, ...] = Field(description="That it was the first to take.")
    waits: dict[str, float] = Field(description="Seconds of the longest wait behind it, by the name of what waited.")
    rewritten: tuple[str, ...] = Field(description="Tables that got a new file.")
    grown_bytes: int = Field(description="By which the tables that it touched have grown, indexes included.")
    rows: int = Field(description="Inserted, updated and deleted.")

    @property
    def keeps_out(self) -> LockTold | None:
        """Of the locks that keep others out, the one that was held for longest; of equal ones, the strongest."""
        found = [lock for lock in self.locks if lock.mode in KEEPS_OUT]
        return max(found, key=lambda lock: (round(lock.seconds, 2), MODES.index(lock.mode)), default=None)

    @property
    def locked_out(self) -> int:
        """Number of tables that others were kept out of."""
        return len({lock.table for lock in self.locks if lock.mode in KEEPS_OUT})


class FileTold(_Frozen):
    """What one file did."""

    file: str
    direction: str
    sha256: str
    seconds: float
    statements: tuple[StatementTold, ...]

    @property
    def longest_wait(self) -> float:
        """Seconds that anybody waited behind it."""
        return max((seconds for each in self.statements for seconds in each.waits.values()), default=0.0)


class TrafficTold(_Frozen):
    """How one statement of the traffic fared."""

    name: str
    before_seconds: float | None = Field(description="The longest before the migration; null where it was not sent.")
    during_seconds: float | None
    sent: int
    failed_before: str = Field(description="Why it failed before the migration; empty where it did not.")
    failed_since: str = Field(description="Why it failed during or after it; empty where it did not.")


class RehearsalCheck(_Frozen):
    """One thing that a rehearsal looked at."""

    name: str = Field(description="as of, data, applies, locks, waits, duration, traffic, smoke or way back.")
    passed: bool | None = Field(description="None: it could not be looked at, or need not be; the finding says why.")
    finding: str = Field(description="One sentence.")


class RehearsalRecord(_Frozen):
    """One rehearsal."""

    id: str = Field(description="Sorts by time; of the form of a backup's id.")
    system: str = Field(description="PostgreSQL's system identifier.")
    at: AwareDatetime
    plan: str = Field(description="Digest of what was rehearsed, as `ops migrate plan` shows it.")
    terms: str = Field(
        default="",
        description="Digest of what it was held against: limits, traffic, questions, ways back.",
    )
    database: str
    backup_id: str = Field(description="From which the copy was made.")
    moment: str = Field(description="As of which.")
    start: int = Field(description="Version at which it began; -1 for none.")
    end: int = Field(description="Version to which the files lead.")
    files: tuple[FileTold, ...]
    traffic: tuple[TrafficTold, ...]
    checks: tuple[RehearsalCheck, ...]
    seconds: dict[str, float] = Field(description="Of each phase, in order.")
    catalogue_before: dict[str, str] = Field(description="Digest of each object's definition, by its identity.")
    catalogue_after: dict[str, str]
    versions: dict[str, str] = Field(description="Of the programs that took part.")

    @property
    def passed(self) -> bool:
        """Whether nothing failed, and it was applied."""
        outcomes = {check.name: check.passed for check in self.checks}
        return False not in outcomes.values() and outcomes.get("applies") is True

    @property
    def unseen(self) -> list[str]:
        """What it did not look at, by name."""
        return [check.name for check in self.checks if check.passed is None]

    @property
    def failures(self) -> list[str]:
        """Why it did not pass, a sentence each."""
        return [check.finding for check in self.checks if check.passed is False]


def store_rehearsal(repository: Repository, record: RehearsalRecord) -> str:
    """Keep a rehearsal; its key.

    Raises:
        StorageError: The bucket did not take it.
    """
    key = f"{repository.layout.rehearsals}{record.id}/{RECORD}"
    repository.store.put(key, record.model_dump_json(indent=2).encode(), if_absent=True)
    return key


def rehearsals(repository: Repository, most: int = 20) -> list[RehearsalRecord]:
    """The newest rehearsals that can be read, oldest first.

    Raises:
        StorageError: The bucket did not answer.
    """
    listed = (found.key for found in repository.store.objects(repository.layout.rehearsals))
    named = {key: name["id"] for key in listed if (name := _KEY.fullmatch(key))}
    newest: Mapping[str, str] = dict(sorted(named.items(), key=lambda item: item[1])[-most:])
    found, _ = read_each(RehearsalRecord, repository.store, newest)
    return [found[key] for key in newest if key in found and found[key].id == newest[key]]
