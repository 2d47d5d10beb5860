"""Plots by day: lines over time, with what they show at their ends, and a gap where a day has no statistics."""

import math
from collections.abc import Sequence
from datetime import date, timedelta

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from ops_workflows.analytics.answers import Answer
from ops_workflows.analytics.plot_panels import Axis, Panel, apart, axis, values

_FEW_DAYS = 15  # of so many, each is written below the axis; of more, Mondays are
_WEEKS_DAYS = 100  # of more, months are
_MONTHS_DAYS = 400  # of more, quarters are
_QUARTERS_DAYS = 1500  # of more, years are, of which there is room for
_MOST_YEARS = 12
_DOTTED_DAYS = 62  # up to so many, each has a dot
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_LINE_POINTS = 13  # from one label to the next


def draw_days(figure: Figure, panels: Sequence[Panel], found: Sequence[Answer], first: date, last: date) -> None:
    """Draw panels one below the other.

    Args:
        figure: To draw into.
        panels: What to show; each has a number to show.
        found: Answers, the keys of which are days.
        first: Where the axis of time begins.
        last: The last day on it.
    """
    answers = {date.fromisoformat(each.key): each for each in found}
    days = _days(first, last)
    below = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    labels = [_panel(axes, panel, days, answers) for axes, panel in zip(below, panels, strict=True)]
    _time(below[-1], first, last)
    figure.draw_without_rendering()  # only now is it known where everything is
    for each in labels:
        _move_apart(each, figure)


def _panel(axes: Axes, panel: Panel, days: list[date], answers: dict[date, Answer]) -> list[Annotation]:
    along = axis(panel.unit, values(panel, answers.values()))
    _numbers(axes, panel, along)
    labels = []
    for measure in panel.measures:
        read = [measure.of(answers[day]) if day in answers else None for day in days]
        line = [math.nan if value is None else value for value in read]
        dots = range(len(days)) if len(days) <= _DOTTED_DAYS else alone(line)
        axes.plot(line, color=measure.color, marker="o", markersize=3.5, markevery=list(dots), clip_on=False)
        end = max(at for at, value in enumerate(line) if not math.isnan(value))
        labels.append(
            axes.annotate(
                f"{measure.name} {panel.unit.say(line[end])}",
                (end, line[end]),
                (8, 0),
                textcoords="offset points",
                color=measure.color,
                verticalalignment="center_baseline",
                annotation_clip=False,
            )
        )
    return labels


def _numbers(axes: Axes, panel: Panel, along: Axis) -> None:
    axes.set_yscale(along.scale.value)
    axes.set_ylim(along.low, along.high)
    axes.set_yticks(along.ticks, [panel.unit.tick(each) for each in along.ticks])
    axes.set_yticks([], minor=True)
    axes.set_ylabel(panel.label)
    axes.grid(axis="y")


def _time(axes: Axes, first: date, last: date) -> None:
    span = (last - first).days
    room = span / 100 or 0.5
    axes.set_xlim(-room, span + room)
    written = dates_written(first, last)
    axes.set_xticks([(day - first).days for day in written], [_date(day, written, last - first) for day in written])
    axes.set_xlabel("day, UTC")


def dates_written(first: date, last: date) -> list[date]:
    """Which days are written below the axis: all, Mondays, or the first of months, quarters or years."""
    days, span = _days(first, last), (last - first).days
    if span < _FEW_DAYS:
        return days
    if span < _WEEKS_DAYS:
        return [day for day in days if day.weekday() == 0]
    if span < _QUARTERS_DAYS:
        every = 1 if span < _MONTHS_DAYS else 3
        return [day for day in days if day.day == 1 and day.month % every == 1 % every]
    every = math.ceil(span / 365 / _MOST_YEARS)
    return [day for day in days if (day.month, day.day) == (1, 1) and day.year % every == 0]


def _date(day: date, written: Sequence[date], span: timedelta) -> str:
    """A day as far as it is not understood; the year below where it begins."""
    if span.days >= _QUARTERS_DAYS:
        return f"{day.year}"
    said = f"{_MONTHS[day.month - 1]}" if span.days >= _WEEKS_DAYS else f"{day.day} {_MONTHS[day.month - 1]}"
    before = [each for each in written if each < day]
    return f"{said}\n" if before and before[-1].year == day.year else f"{said}\n{day.year}"


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def alone(line: Sequence[float]) -> list[int]:
    """Which numbers have none beside them: a line cannot show them."""
    padded = [math.nan, *line, math.nan]
    return [
        at
        for at, (before, here, after) in enumerate(zip(padded, padded[1:], padded[2:], strict=False))
        if not math.isnan(here) and math.isnan(before) and math.isnan(after)
    ]


def _move_apart(labels: Sequence[Annotation], figure: Figure) -> None:
    points = 72 / figure.dpi
    own = [each.axes.transData.transform(each.xy)[1] * points for each in labels if each.axes]
    for label, place, moved in zip(labels, own, apart(own, _LINE_POINTS), strict=True):
        label.set_position((8, moved - place))
