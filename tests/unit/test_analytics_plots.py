"""Plots show what was answered, and no more; and a file is there as a whole, or not at all."""

import math
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from PIL import Image

from ops_workflows.analytics.answers import Answer, By, Question
from ops_workflows.analytics.plot_categories import legible
from ops_workflows.analytics.plot_days import alone, dates_written
from ops_workflows.analytics.plot_file import write
from ops_workflows.analytics.plot_panels import SHOWN, Axis, Scale, Unit, apart, axis
from ops_workflows.analytics.plots import MOST_ROWS, Asked, chosen, draw, plot, title
from ops_workflows.errors import ConfigurationError
from ops_workflows.settings import Settings
from tests.support.command import ops_here

FIRST = date(2026, 4, 20)
LATER = date(2026, 6, 1)
MILLISECONDS = st.floats(0, 2**31, allow_subnormal=False)


def asked(question: Question, by: By = By.DAY, days: int = 10) -> Asked:
    return Asked(question, by, FIRST, FIRST + timedelta(days=days - 1))


def answer(key: str, queries: int = 2_000, p50: float | None = 12.0) -> Answer:
    return Answer(key, queries, 0.75, queries // 4, p50, p50 and p50 * 5, p50 and p50 * 90)


def on_days(*numbers: int) -> list[Answer]:
    return [answer(str(FIRST + timedelta(days=number)), 2_000 + number) for number in numbers]


def texts(file: Path) -> str:
    return "\n".join(each.text or "" for each in ET.parse(file).iter("{http://www.w3.org/2000/svg}text"))  # noqa: S314 - our own


def lines(axes: Axes) -> dict[object, list[float]]:
    return {line.get_color(): [float(each) for each in line.get_ydata()] for line in axes.lines}  # type: ignore[union-attr]


@pytest.mark.parametrize("question", Question)
@pytest.mark.parametrize("by", [By.DAY, By.QUERY_TYPE])
@pytest.mark.parametrize("many", [0, 1, 12])
def test_each_question_has_a_plot_of_either_format(tmp_path: Path, question: Question, by: By, many: int) -> None:
    found = on_days(*range(many)) if by is By.DAY else [answer(f"type {number}") for number in range(many)]
    png, svg = tmp_path / "a.PNG", tmp_path / "a.svg"
    for file in (png, svg):
        plot(asked(question, by, 30), found, file)
    with Image.open(png) as image:
        image.load()
        assert (image.format, image.width) == ("PNG", 1440)
    written = texts(svg)
    assert f"by {by.replace('_', ' ')}, 2026-04-20 to 2026-05-19 (UTC)" in written
    assert ("There are no statistics of any query here." in written) is (many == 0)
    assert all(panel.label in written for panel in SHOWN[question].panels) is (many > 0)
    assert sorted(tmp_path.iterdir()) == [png, svg]


def test_equal_answers_give_equal_files(tmp_path: Path) -> None:
    for kind in ("svg", "png"):
        made = [tmp_path / f"{number}.{kind}" for number in range(2)]
        for file in made:
            plot(asked(Question.LATENCY), on_days(*range(10)), file)
        assert made[0].read_bytes() == made[1].read_bytes()


def test_a_day_without_statistics_is_a_gap_and_a_day_by_itself_a_dot() -> None:
    figure = draw(asked(Question.GROWTH, days=100), on_days(*range(40), 50, *range(60, 90)), today=LATER)
    queries, users = figure.axes
    ((_, line),) = lines(queries).items()
    missing = [*range(40, 50), *range(51, 60), *range(90, 100)]
    assert [at for at, value in enumerate(line) if math.isnan(value)] == missing
    assert line[50] == 2_050
    assert [drawn.get_markevery() for drawn in (*queries.lines, *users.lines)] == [[50], [50]]
    assert [each.get_text() for axes in figure.axes for each in axes.texts] == ["queries 2,089", "users 522"]


def test_a_day_without_response_times_is_a_gap_in_their_lines_alone() -> None:
    found = [*on_days(0, 1), answer("2026-04-22", p50=None)]
    (axes,) = draw(asked(Question.LATENCY), found, today=LATER).axes
    assert all(not math.isnan(line[1]) and math.isnan(line[2]) for line in lines(axes).values())
    assert [each.get_text() for each in axes.texts] == ["p50 12 ms", "p95 60 ms", "p99 1,080 ms"]


def test_where_nothing_was_timed_the_plot_says_so(tmp_path: Path) -> None:
    for by, key in ((By.DAY, "2026-04-20"), (By.REGION, "N20E070")):
        plot(asked(Question.LATENCY, by), [answer(key, p50=None)], tmp_path / "a.svg")
        assert "None of them has a response time." in texts(tmp_path / "a.svg")


def test_a_day_that_is_not_over_is_named() -> None:
    for today, named in ((FIRST + timedelta(days=9), True), (LATER, False)):
        figure = draw(asked(Question.TOP), on_days(0), today=today)
        assert (f"{today} is not over yet." in figure.get_supxlabel()) is named


def test_of_many_categories_the_busiest_are_shown_and_the_others_counted() -> None:
    found = [answer(f"N{number}", queries=1_000 + number, p50=2_000 - number) for number in range(649)]
    rows = chosen(SHOWN[Question.LATENCY], found)
    assert [each.key for each in rows] == [f"N{number}" for number in range(649 - MOST_ROWS, 649)]  # the slowest first
    figure = draw(asked(Question.LATENCY, By.REGION), found, today=LATER)
    assert [each.get_text() for each in figure.axes[0].get_yticklabels()] == [each.key for each in rows]
    assert "The 60 busiest of 649; the other 589 have 762,166 queries." in figure.get_supxlabel()


def test_a_category_without_response_times_has_a_row_without_dots() -> None:
    found = [answer("untimed", p50=None), answer("timed")]
    (axes,) = draw(asked(Question.LATENCY, By.QUERY_TYPE), found, today=LATER).axes
    assert [each.get_text() for each in axes.get_yticklabels()] == ["timed", "untimed"]
    assert lines(axes) == {measure.color: [0.0] for measure in SHOWN[Question.LATENCY].panels[0].measures}


def test_names_are_shown_as_they_are_or_so_that_a_file_can_hold_them(tmp_path: Path) -> None:
    names = ["a$b_c$", "<&>", "[/red]", "\x01\ufffe\n", "x" * 100, "पञ्चाङ्ग"]
    for file in ("a.svg", "a.png"):
        plot(asked(Question.TOP, By.QUERY_TYPE), [answer(name) for name in names], tmp_path / file)
    written = texts(tmp_path / "a.svg").splitlines()
    assert {*names[:3], "(empty)", "x" * 39 + "…"} <= set(written)
    assert legible(names[-1]) == names[-1]


def test_one_day_is_named_once() -> None:
    assert title(asked(Question.CACHE_HIT, By.CACHE_HIT, days=1)) == "Cache hit rate by cache hit, 2026-04-20 (UTC)"


@given(st.lists(MILLISECONDS, min_size=1, max_size=30), st.sampled_from([Unit.COUNT, Unit.MILLISECONDS]))
def test_an_axis_has_room_for_every_number(shown: list[float], unit: Unit) -> None:
    found = axis(unit, shown)
    assert found.low <= min(shown) <= max(shown) <= found.high
    assert found.low > 0 or found.scale is not Scale.LOG
    assert list(found.ticks) == sorted(set(found.ticks))
    assert found.low <= found.ticks[0] < found.ticks[-1] <= found.high
    assert 2 <= len(found.ticks) <= 13


@pytest.mark.parametrize(
    ("unit", "shown", "scale", "ticks"),
    [
        (Unit.SHARE, [0.4, 0.5], Scale.LINEAR, (0, 0.25, 0.5, 0.75, 1)),
        (Unit.COUNT, [0], Scale.LINEAR, (0, 1)),
        (Unit.COUNT, [3, 1_900_000], Scale.LINEAR, (0, 500_000, 1_000_000, 1_500_000, 2_000_000)),
        (Unit.MILLISECONDS, [40, 45], Scale.LINEAR, (0, 10, 20, 30, 40, 50)),
        (Unit.MILLISECONDS, [0, 6], Scale.LINEAR, (0, 2, 4, 6)),
        (Unit.MILLISECONDS, [12, 900], Scale.LOG, (10, 20, 50, 100, 200, 500, 1_000)),
        (Unit.MILLISECONDS, [0, 15], Scale.FROM_ZERO, (0, 1, 2, 5, 10)),
    ],
)
def test_response_times_far_apart_are_shown_by_their_logarithm(
    unit: Unit, shown: list[float], scale: Scale, ticks: tuple[float, ...]
) -> None:
    found: Axis = axis(unit, shown)
    assert (found.scale, found.ticks) == (scale, ticks)


@given(st.lists(st.floats(-1000, 1000), max_size=8), st.floats(1, 30))
def test_labels_do_not_touch_keep_their_order_and_move_only_if_they_must(places: list[float], gap: float) -> None:
    moved = apart(places, gap)
    order = sorted(range(len(places)), key=places.__getitem__)
    steps = [moved[after] - moved[before] for before, after in pairwise(order)]
    assert all(step >= gap - 1e-6 for step in steps)
    assert sum(moved) == pytest.approx(sum(places), abs=1e-6)
    if all(places[after] - places[before] >= gap for before, after in pairwise(order)):
        assert moved == pytest.approx(places)


@given(st.dates(date(1970, 1, 1), date(2500, 1, 1)), st.integers(0, 30_000))
def test_below_the_axis_are_some_days_but_not_too_many(first: date, days: int) -> None:
    last = first + timedelta(days=days)
    written = dates_written(first, last)
    assert min(days + 1, 2) <= len(written) <= 18
    assert first <= written[0] <= written[-1] <= last


def test_numbers_with_none_beside_them_are_found() -> None:
    gap = math.nan
    assert alone([1, gap, 2, 3, gap, gap, 4]) == [0, 6]
    assert alone([1]) == [0]
    assert alone([gap]) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a.pdf", "a.pdf is neither PNG nor SVG: give --plot a name that ends in .png or .svg."),
        (".png", "is neither PNG nor SVG"),
        ("missing/a.svg", "There is no folder missing to write a.svg to: make it, or name another."),
        ("folder.png", "folder.png is a folder: give --plot the name of a file."),
    ],
)
def test_a_file_that_cannot_be_is_refused_before_anything_is_asked(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "folder.png").mkdir()
    done = ops_here(Settings().model_copy(update={"upkeep_dsn": None}), tmp_path, "analytics", "top", "--plot", name)
    assert (done.code, done.out) == (1, "")
    assert said in done.sentence
    assert [each.name for each in tmp_path.iterdir()] == ["folder.png"]


@pytest.mark.parametrize("option", ["--from", "--to"])
@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
def test_days_of_no_calendar_are_refused(tmp_path: Path, option: str, day: str) -> None:
    done = ops_here(Settings(), tmp_path, "analytics", "growth", option, day)
    assert done.code == 1
    assert "days of the years 1970 to 2999" in done.sentence


@contextmanager
def no_file_longer_than(count: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_is_written_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    write(file, b"old")
    with no_file_longer_than(5), pytest.raises(ConfigurationError, match=r"a\.png cannot be written: File too large"):
        write(file, b"new and longer")
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("a.png", b"old")]
    write(file, b"new")
    assert file.read_bytes() == b"new"
    assert file.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    found = os.umask(0o022)
    os.umask(found)
    return found


def test_whatever_style_a_folder_has_plots_look_alike(tmp_path: Path) -> None:
    program = (
        "from datetime import date; from pathlib import Path; from ops_workflows.analytics.answers import *; "
        "from ops_workflows.analytics.plots import Asked, plot; "
        "asked = Asked(Question.LATENCY, By.DAY, date(2026, 4, 20), date(2026, 4, 20)); "
        "plot(asked, [Answer('2026-04-20', 2000, 0.75, 500, 12.0, 60.0, 1080.0)], Path('a.svg'))"
    )
    (tmp_path / "matplotlibrc").write_text("figure.facecolor: black\ntext.usetex: True\nfont.size: 30\n")
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, timeout=60, check=True)
    plot(asked(Question.LATENCY, days=1), on_days(0), tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_who_draws_nothing_does_not_wait_for_it() -> None:
    program = "import sys, ops_workflows.cli; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"
