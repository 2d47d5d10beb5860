"""Answers as plots, PNG or SVG. Nothing imports this module before a plot is asked for: matplotlib takes a second."""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from ops_workflows.analytics.answers import Answer, By, Question
from ops_workflows.analytics.plot_categories import draw_categories
from ops_workflows.analytics.plot_days import draw_days
from ops_workflows.analytics.plot_file import format_of, write
from ops_workflows.analytics.plot_panels import SHOWN, Shown, values

MOST_ROWS = 60
"""So many categories have a row; of more, the busiest."""

_WIDE, _MARGINS, _ROW, _PANEL = 10.0, 1.5, 0.27, 3.6  # inches
_DPI = 144
_STYLE: dict[Any, Any] = {  # to mypy, its keys are a type of their own
    "axes.edgecolor": "#808080",
    "axes.labelcolor": "#404040",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.h_pad": 0.12,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.12,
    "figure.dpi": _DPI,
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "axes.axisbelow": True,
    "lines.linewidth": 1.3,
    "grid.color": "#e4e4e4",
    "svg.fonttype": "none",  # letters that can be found and read aloud
    "svg.hashsalt": "ops",  # equal answers give equal files
    "text.parse_math": False,  # a dollar is a dollar
    "xtick.color": "#404040",
    "ytick.color": "#404040",
    "ytick.major.size": 0,
}
_CACHE = {"true": "from the cache", "false": "calculated"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked.

    Attributes:
        question: Which of the four.
        by: What to tell apart.
        first: The first day (UTC).
        last: The last day, which is in it.
    """

    question: Question
    by: By
    first: date
    last: date


def plot(asked: Asked, found: Sequence[Answer], file: Path) -> None:
    """Draw the answers, and write them to a file: lines by day, and otherwise a row for each category.

    Args:
        asked: The question.
        found: Its answers; without any, the plot says so.
        file: PNG or SVG, by its ending; replaced if it is there.

    Raises:
        ConfigurationError: The ending is another one, or the file cannot be written.
    """
    kind = format_of(file)
    content = io.BytesIO()
    with _own_style():
        figure = draw(asked, found, today=datetime.now(UTC).date())
        figure.savefig(content, format=kind, metadata={"Date": None} if kind == "svg" else {"Software": None})
    write(file, content.getvalue())


@contextmanager
def _own_style() -> Iterator[None]:
    """Whatever style the user or the folder has set, plots look alike."""
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        warnings.filterwarnings("ignore", r"Glyph .* missing from font", UserWarning)  # an SVG's reader may have it
        yield


def draw(asked: Asked, found: Sequence[Answer], *, today: date) -> Figure:
    """Draw the answers.

    Args:
        asked: The question.
        found: Its answers.
        today: The day that is not over yet.
    """
    shown = SHOWN[asked.question]
    by_day = asked.by is By.DAY
    drawable = [panel for panel in shown.panels if values(panel, found)]
    rows = [] if by_day else chosen(shown, found)
    height = _MARGINS + (_PANEL * max(1, len(drawable)) if by_day or not drawable else max(1.0, _ROW * len(rows)))
    figure = Figure(figsize=(_WIDE, height))
    figure.suptitle(title(asked), x=0.01, horizontalalignment="left", fontsize=13, fontweight="bold")
    figure.supxlabel(
        footer(asked, found, today), x=0.01, horizontalalignment="left", fontsize=8.5, color="#606060", wrap=False
    )
    if not drawable:
        nothing = "None of them has a response time." if found else "There are no statistics of any query here."
        figure.text(0.5, 0.5, nothing, horizontalalignment="center", color="#606060")
    elif by_day:
        draw_days(figure, drawable, found, asked.first, asked.last)
    else:
        names = [_CACHE[each.key] if asked.by is By.CACHE_HIT else each.key for each in rows]
        draw_categories(figure, drawable, rows, names)
    return figure


def chosen(shown: Shown, found: Sequence[Answer]) -> list[Answer]:
    """Which categories have a row, from the top on."""
    busiest = sorted(found, key=lambda each: (-each.queries, each.key))[:MOST_ROWS]
    read = [(shown.order.of(each), each) for each in busiest]
    return [each for value, each in sorted(read, key=lambda row: -1.0 if row[0] is None else row[0], reverse=True)]


def title(asked: Asked) -> str:
    """What is to be seen, and of which days."""
    days = f"{asked.first}" if asked.first == asked.last else f"{asked.first} to {asked.last}"
    return f"{SHOWN[asked.question].title} by {asked.by.replace('_', ' ')}, {days} (UTC)"


def footer(asked: Asked, found: Sequence[Answer], today: date) -> str:
    """How many queries it is about, how exact it is, and what is missing."""
    if not found:
        return ""
    said = [f"{_queries(sum(each.queries for each in found))}."]
    if SHOWN[asked.question].note:
        said.append(SHOWN[asked.question].note)
    left = len(found) - MOST_ROWS
    if asked.by is not By.DAY and left > 0:
        others = sorted((each.queries for each in found), reverse=True)[MOST_ROWS:]
        said.append(f"The {MOST_ROWS} busiest of {len(found):,}; the other {left:,} have {_queries(sum(others))}.")
    if asked.first <= today <= asked.last:
        said.append(f"{today} is not over yet.")
    return "\n".join(said)


def _queries(number: int) -> str:
    return "1 query" if number == 1 else f"{number:,} queries"
