"""What a person sees: progress bars on standard error, tables and JSON on standard output."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

from pydantic import BaseModel
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as RichProgress
from rich.table import Table
from rich.text import Text

from ops_workflows.progress import BYTES, Progress, Silent

_PIPED_WIDTH = 200  # a pipe or a file has no edge to wrap at; 80 columns, rich's assumption, would break every id
out = Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH)
err = Console(stderr=True, width=None if sys.stderr.isatty() else _PIPED_WIDTH)
_THOUSAND = 1000
_TWO_MINUTES = 120


class _Done(DownloadColumn):
    """How much of it, in the phase's own unit."""

    def render(self, task: Task) -> Text:
        unit = task.fields.get("unit", BYTES)
        if unit == BYTES:
            return super().render(task)
        of = f"/{task.total:,.0f}" if task.total else ""
        return Text(f"{task.completed:,.0f}{of} {unit}", style="progress.download")


class _Speed(TransferSpeedColumn):
    """How fast, of bytes only."""

    def render(self, task: Task) -> Text:
        return super().render(task) if task.fields.get("unit", BYTES) == BYTES else Text()


class Bars:
    """Progress as a bar for each phase; without a terminal, a line for each."""

    def __init__(self, display: RichProgress) -> None:
        self._display = display
        self._task = None if not err.is_terminal else display.add_task("", visible=False, total=None)

    def begin(self, phase: str, total: int | None, unit: str = BYTES) -> None:
        """A new bar; the one before is full."""
        if self._task is None:
            err.print(f"{phase} …", highlight=False)
            return
        done = self._display.tasks[-1]
        if done.total:
            self._display.update(self._task, completed=done.total)
        self._task = self._display.add_task(phase, total=total, unit=unit)

    def advance(self, done: int) -> None:
        """How far the bar is."""
        if self._task is not None:
            self._display.update(self._task, completed=done)

    def say(self, sentence: str) -> None:
        """A line above the bars."""
        self._display.console.print(sentence, highlight=False, soft_wrap=True)


class Sentences(Silent):
    """Progress for whoever reads JSON on standard output: nothing but what deserves a sentence, on standard error."""

    def say(self, sentence: str) -> None:
        """A line."""
        err.print(sentence, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def progress(*, quiet: bool) -> Iterator[Progress]:
    """Bars for the length of a `with`; sentences alone for whoever wants JSON."""
    if quiet:
        yield Sentences()
        return
    columns = (
        SpinnerColumn(finished_text="✓"),
        TextColumn("{task.description:<18}"),
        BarColumn(),
        _Done(),
        _Speed(),
        TimeRemainingColumn(compact=True),
    )
    with RichProgress(*columns, console=err, transient=False) as display:
        yield Bars(display)


@contextmanager
def rows_bar(what: str) -> Iterator["RowsBar"]:
    """A bar that counts rows, for the length of a `with`."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("rows"))
    with RichProgress(*columns, TimeRemainingColumn(compact=True), console=err) as display:
        yield RowsBar(display)


class RowsBar:
    """Called with how many rows are done, and how many there will be."""

    def __init__(self, display: RichProgress) -> None:
        self._display = display
        self._task = display.add_task("", total=None)

    def __call__(self, done: int, total: int) -> None:
        """How far it is."""
        self._display.update(self._task, completed=done, total=total)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """Print a table; the columns named in `right` hold numbers."""
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        grid.add_column(column, justify="right" if column in right else "left", no_wrap=column in right)
    for row in rows:
        grid.add_row(*row)
    out.print(grid)


def facts(pairs: Mapping[str, str]) -> None:
    """Print names and values, one to a line."""
    grid = Table(box=None, pad_edge=False, show_header=False)
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    for name, value in pairs.items():
        grid.add_row(name, value)
    out.print(grid)


def as_json(value: object) -> None:
    """Print a value as JSON, for machines."""
    json.dump(value, sys.stdout, indent=2, default=_plain)
    print()


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)


def size(count: float) -> str:
    """Bytes, for a person."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < _THOUSAND:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= _THOUSAND
    return f"{count:,.1f} TB"


def when(moment: datetime) -> str:
    """A moment, in UTC, to the second."""
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def span(seconds: float) -> str:
    """A length of time, for a person."""
    return f"{seconds:.1f} s" if seconds < _TWO_MINUTES else str(timedelta(seconds=round(seconds)))
