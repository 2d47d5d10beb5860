"""What was measured as rows, judged against what is claimed; and the rows as a table for people, or as JSON."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.claims import (
    CLAIMS,
    CONTENDERS,
    MOST_BACKUP_BYTES,
    MOST_IMPORT_SECONDS,
    SAME_MEMORY,
    Claim,
    Work,
)
from benchmarks.rounds import Turn

Verdict = Literal["PASS", "MISS"]
_WIDTH = 130
_COLUMNS = ("", "median", "least to most", "ours / this", "at most", "")


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        section: What was measured.
        name: Of whom.
        measured: Each measurement; empty for who could not take part.
        unit: `s`, `ms`, `MB`, `%` or `rows`.
        ratio: Ours to this, where the two are compared.
        bound: What is claimed of the ratio, or of the measured itself.
        verdict: Whether the claim holds; None where nothing is claimed.
        note: Why nothing was measured.
    """

    section: str
    name: str
    measured: tuple[float, ...] = ()
    unit: str = "s"
    ratio: float | None = None
    bound: float | None = None
    verdict: Verdict | None = None
    note: str = ""

    @property
    def median(self) -> float | None:
        """Of what was measured."""
        return statistics.median(self.measured) if self.measured else None

    def judged(self, holds: bool) -> "Row":
        """The same, with the verdict."""
        return replace(self, verdict=_verdict(holds))


def judge(peer: Row, ours: Row, bound: float) -> Row:
    """The peer's row with what ours is to it by medians, which may be `bound` at most."""
    ratio = statistics.median(ours.measured) / statistics.median(peer.measured)
    return replace(peer, ratio=ratio, bound=bound, verdict=_verdict(ratio <= bound))


def compared(turns: Mapping[str, Sequence[Turn]]) -> list[Row]:
    """The rows for backup and restore: each contender, with its claim where it is a peer."""
    rows = []
    for work, section in (("backup", "backup"), ("restore", "restore: fetch and extract, to fsync")):
        for contender in CONTENDERS:
            if missing := contender.missing():
                rows.append(Row(section, contender.name, note=missing))
            elif measured := _seconds(turns[contender.name], work):
                claim = next((claim for claim in CLAIMS if (claim.work, claim.peer) == (work, contender)), None)
                rows.append(_judged(section, contender.name, measured, claim, turns))
    for name, taken in turns.items():
        besides = [turn.restore.besides for turn in taken if turn.restore and turn.restore.besides]
        for what in besides[0] if besides else ():
            measured = tuple(each[what] for each in besides)
            rows.append(Row("restore, besides: what no peer does", f"{what}, {name}", measured))
    return rows


def memory(small: Sequence[Turn], large: Sequence[Turn], names: tuple[str, str]) -> list[Row]:
    """The rows for peak memory, of the smaller and of the larger database."""
    section, peaks = (
        "peak memory of ops backup",
        [[turn.backup.peak_bytes / 1e6 for turn in each] for each in (small, large)],
    )
    bound = MOST_BACKUP_BYTES / 1e6
    rows = [
        Row(section, name, tuple(peak), "MB", bound=bound, verdict=_verdict(max(peak) <= bound))
        for name, peak in zip(names, peaks, strict=True)
    ]
    ratio = statistics.median(peaks[1]) / statistics.median(peaks[0])
    same = _verdict(abs(ratio - 1) <= SAME_MEMORY)
    return [*rows, Row(section, f"{names[1]} to {names[0]}", ratio=ratio, bound=1 + SAME_MEMORY, verdict=same)]


def imports(seconds: float) -> Row:
    """The row for what our definitions add to Dagster's own import."""
    held = _verdict(seconds <= MOST_IMPORT_SECONDS)
    return Row(
        "import", "ops_workflows.definitions, after dagster", (seconds,), bound=MOST_IMPORT_SECONDS, verdict=held
    )


def show(rows: Iterable[Row], title: str) -> None:
    """Print the table."""
    table = Table(*_COLUMNS, box=box.SIMPLE, title=title, title_justify="left")
    for column in table.columns:
        column.no_wrap = True
    for column in table.columns[1:5]:
        column.justify = "right"
    section = ""
    for row in rows:
        if row.section != section:
            section = row.section
            table.add_row(f"[bold]{section}[/bold]")
        if row.note:
            table.add_row(f"  {row.name}: {row.note}")
            continue
        table.add_row(f"  {row.name}", *_cells(row))
    Console(width=_WIDTH).print(table)


def as_json(rows: Iterable[Row]) -> list[dict[str, object]]:
    """The rows as plain data."""
    return [{**vars(row), "median": row.median} for row in rows]


def _judged(
    section: str, name: str, measured: tuple[float, ...], claim: Claim | None, turns: Mapping[str, Sequence[Turn]]
) -> Row:
    if claim is None:
        return Row(section, name, measured)
    ratio = statistics.median(_seconds(turns[claim.ours.name], claim.work)) / statistics.median(measured)
    return Row(section, name, measured, ratio=ratio, bound=claim.bound, verdict=_verdict(claim.holds(ratio)))


def _seconds(turns: Sequence[Turn], work: Work | str) -> tuple[float, ...]:
    if work == "backup":
        return tuple(turn.backup.seconds for turn in turns)
    return tuple(turn.restore.seconds for turn in turns if turn.restore)


def _cells(row: Row) -> tuple[str, ...]:
    digits = 0 if row.unit in {"MB", "rows"} else 2
    spread = f"{min(row.measured):.{digits}f} to {max(row.measured):.{digits}f}" if len(row.measured) > 1 else ""
    colour = {"PASS": "green", "MISS": "red", None: "none"}[row.verdict]
    return (
        f"{row.median:.{digits}f} {row.unit}" if row.median is not None else "",
        spread,
        f"{row.ratio:.2f}" if row.ratio is not None else "",
        (f"{row.bound:.2f}" if row.ratio is not None else f"{row.bound:g} {row.unit}") if row.bound is not None else "",
        f"[{colour}]{row.verdict or ''}[/{colour}]",
    )


def _verdict(holds: bool) -> Verdict:
    return "PASS" if holds else "MISS"
