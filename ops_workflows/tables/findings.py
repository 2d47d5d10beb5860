"""What a look at the tables says: by check, whether all is well, what is not, and what could not be seen."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ops_workflows.wording import first_few

WORST = 10
"""Findings that are shown as a table."""

_MEGABYTE = 1_000_000


class Verdict(StrEnum):
    """How it is; what could not be seen is unknown, and never well."""

    OK = "ok"
    WARNING = "warning"
    UNKNOWN = "unknown"


class Kind(StrEnum):
    """The checks, by the name that Dagster knows them by."""

    NO_BLOAT = "no_bloat"
    FEW_DEAD_ROWS = "few_dead_rows"
    AUTOVACUUM_GETS_THROUGH = "autovacuum_gets_through"
    SEQUENCES_HAVE_ROOM = "sequences_have_room"
    NO_UNUSED_INDEX = "no_unused_index"
    NO_DUPLICATE_INDEX = "no_duplicate_index"
    ANALYZED = "analyzed"


_WELL = {
    Kind.NO_BLOAT: "No table or btree index is bloated",
    Kind.FEW_DEAD_ROWS: "No table has many more dead rows than autovacuum waits for",
    Kind.AUTOVACUUM_GETS_THROUGH: "Vacuums get through, and nothing holds them back",
    Kind.SEQUENCES_HAVE_ROOM: "No sequence is near its end",
    Kind.NO_UNUSED_INDEX: "No index of size lies idle",
    Kind.NO_DUPLICATE_INDEX: "No index does what another does",
    Kind.ANALYZED: "The planner has statistics of every table of size",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What is not well, or could not be seen.

    Attributes:
        verdict: Which of the two.
        what: Of which table, index, sequence or transaction.
        said: What is with it, in figures, as a sentence.
        do: What to do about it, as a clause.
        weight: How bad it is beside others of its kind.
        bytes: That it costs, where it is bytes.
    """

    verdict: Verdict
    what: str
    said: str
    do: str
    weight: float = 0.0
    bytes: int = 0

    @property
    def sentence(self) -> str:
        """All of it."""
        return f"{self.said} To do: {self.do}."


def warning(what: str, said: str, do: str, *, weight: float = 0.0, size: float = 0) -> Finding:
    """It will be trouble."""
    return Finding(Verdict.WARNING, what, said, do, weight or size, round(size))


def unknown(what: str, said: str, do: str, *, weight: float = 0.0, size: float = 0) -> Finding:
    """Nobody can tell."""
    return Finding(Verdict.UNKNOWN, what, said, do, weight or size, round(size))


def amount(count: float) -> str:
    """Bytes, in a sentence."""
    return f"{count / 1e6:,.1f} MB" if count >= _MEGABYTE else f"{count / 1e3:,.1f} kB"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a check.

    Attributes:
        kind: Which.
        looked_at: How many things were looked at.
        findings: What is not well, the worst first, and then what could not be seen.
    """

    kind: Kind
    looked_at: int
    findings: Sequence[Finding]

    @classmethod
    def of(cls, kind: Kind, looked_at: int, findings: Iterable[Finding]) -> "Outcome":
        """Findings in any order."""
        ordered = sorted(findings, key=lambda each: (each.verdict is Verdict.UNKNOWN, -each.weight, each.what))
        return cls(kind, looked_at, tuple(ordered))

    @property
    def verdict(self) -> Verdict:
        """Of the check as a whole."""
        return self.findings[0].verdict if self.findings else Verdict.OK

    @property
    def said(self) -> str:
        """In sentences."""
        if not self.findings:
            return f"{_WELL[self.kind]}; {self.looked_at:,} looked at."
        return first_few([each.sentence for each in self.findings])

    @property
    def figures(self) -> dict[str, int]:
        """For plots."""
        return {
            "looked_at": self.looked_at,
            "warnings": sum(each.verdict is Verdict.WARNING for each in self.findings),
            "unknown": sum(each.verdict is Verdict.UNKNOWN for each in self.findings),
            "bytes": sum(each.bytes for each in self.findings),
        }


@dataclass(frozen=True, slots=True)
class Inspection:
    """A look at a database.

    Attributes:
        database: Its name.
        at: When.
        tables: How many there are, partitions each by themselves.
        indexes: Likewise.
        sequences: Likewise.
        table_bytes: Of all tables, values stored out of line included.
        index_bytes: Of all indexes.
        dead_rows: Of all tables.
        outcomes: One for each check.
    """

    database: str
    at: datetime
    tables: int
    indexes: int
    sequences: int
    table_bytes: int
    index_bytes: int
    dead_rows: int
    outcomes: Sequence[Outcome]

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "database": self.database,
            "at": self.at.isoformat(),
            "tables": self.tables,
            "indexes": self.indexes,
            "sequences": self.sequences,
            "table_bytes": self.table_bytes,
            "index_bytes": self.index_bytes,
            "dead_rows": self.dead_rows,
            "checks": [
                {
                    "check": outcome.kind,
                    "verdict": outcome.verdict,
                    "said": outcome.said,
                    **outcome.figures,
                    "findings": [
                        {
                            "verdict": each.verdict,
                            "what": each.what,
                            "said": each.said,
                            "do": each.do,
                            "bytes": each.bytes,
                        }
                        for each in outcome.findings
                    ],
                }
                for outcome in self.outcomes
            ],
        }
