"""Plots by category: a row for each, the greatest on top, with bars for one number and dots for several."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from ops_workflows.analytics.answers import Answer
from ops_workflows.analytics.plot_panels import Measure, Panel, Unit, apart, axis, values

_LONGEST = 40  # letters of a name
_GREY = "#c8c8c8"
_FAR = 25  # rows; of more, the axis is written below them, too
_NAME_POINTS = 24


def draw_categories(figure: Figure, panels: Sequence[Panel], rows: Sequence[Answer], names: Sequence[str]) -> None:
    """Draw panels beside each other.

    Args:
        figure: To draw into.
        panels: What to show; each has a number to show.
        rows: Answers, from the top on.
        names: What stands beside them.
    """
    beside = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, panel in zip(beside, panels, strict=True):
        if len(panel.measures) == 1:
            _bars(axes, panel, panel.measures[0], rows)
        axes.xaxis.set_label_position("top")
        axes.set_xlabel(panel.label, loc="left")
        axes.tick_params(axis="x", length=0, labeltop=True, labelbottom=len(rows) > _FAR)
        axes.spines["bottom"].set_visible(False)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
    beside[0].set_yticks(range(len(rows)), [legible(name) for name in names], parse_math=False)
    beside[0].set_ylim(len(rows) - 0.5, -0.5)
    labels = [_dots(axes, panel, rows) for axes, panel in zip(beside, panels, strict=True) if len(panel.measures) > 1]
    figure.draw_without_rendering()  # only now is it known where everything is
    for each in labels:
        _move_apart(each, figure)


def legible(name: str) -> str:
    """A name as a plot can show it: on one line, not too long, and without what an SVG may not hold."""
    plain = " ".join("".join(letter if letter.isprintable() else " " for letter in name).split())
    if not plain:
        return "(empty)"
    return plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST - 1]}…"


def _bars(axes: Axes, panel: Panel, measure: Measure, rows: Sequence[Answer]) -> None:
    along = axis(panel.unit, values(panel, rows))
    longest = along.high if panel.unit is Unit.SHARE else max(values(panel, rows)) or 1
    axes.set_xlim(0, longest)
    # Each bar has its number beside it, so that only a share, which has a whole, needs an axis.
    ticks = along.ticks if panel.unit is Unit.SHARE else ()
    axes.set_xticks(ticks, [panel.unit.tick(each) for each in ticks])
    axes.grid(axis="x")
    read = [(at, value) for at, each in enumerate(rows) if (value := measure.of(each)) is not None]
    bars = axes.barh([at for at, _ in read], [value for _, value in read], height=0.7, color=measure.color)
    axes.bar_label(bars, [panel.unit.say(value) for _, value in read], padding=4)


def _dots(axes: Axes, panel: Panel, rows: Sequence[Answer]) -> list[Annotation]:
    along = axis(panel.unit, values(panel, rows))
    axes.set_xscale(along.scale.value)
    axes.set_xlim(along.low, along.high)
    axes.set_xticks(along.ticks, [panel.unit.tick(each) for each in along.ticks])
    axes.set_xticks([], minor=True)
    axes.grid(axis="x")
    timed = [(at, each) for at, each in enumerate(rows) if values(panel, [each])]
    for at, each in timed:
        axes.hlines(at, min(values(panel, [each])), max(values(panel, [each])), color=_GREY, linewidth=3, zorder=1.5)
    for number, measure in enumerate(panel.measures):  # each smaller than the one below it, which it might hide
        dots = [(value, at) for at, each in timed if (value := measure.of(each)) is not None]
        axes.plot(*zip(*dots, strict=True), "o", color=measure.color, markersize=8 - 2 * number, clip_on=False)
    at, top = timed[0]
    return [
        axes.annotate(
            measure.name,
            (measure.of(top) or 0, at),
            (0, 7),
            textcoords="offset points",
            color=measure.color,
            horizontalalignment="center",
            annotation_clip=False,
        )
        for measure in panel.measures
    ]


def _move_apart(labels: Sequence[Annotation], figure: Figure) -> None:
    points = 72 / figure.dpi
    own = [each.axes.transData.transform(each.xy)[0] * points for each in labels if each.axes]
    for label, place, moved in zip(labels, own, apart(own, _NAME_POINTS), strict=True):
        label.set_position((moved - place, 7))
