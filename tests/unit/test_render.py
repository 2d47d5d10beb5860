import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ops_workflows.cli import render
from tests.support.records import backup


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1_500_000, "1.5 MB"),
        (2e9, "2.0 GB"),
        (5e12, "5.0 TB"),
        (5e15, "5,000.0 TB"),
    ],
)
def test_sizes(count: float, text: str) -> None:
    assert render.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0.0 s"), (119.94, "119.9 s"), (121, "0:02:01"), (90_000, "1 day, 1:00:00")]
)
def test_spans(seconds: float, text: str) -> None:
    assert render.span(seconds) == text


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    moment = datetime(2026, 1, 31, tzinfo=UTC)
    render.as_json({"backup": backup(), "at": moment, "where": Path("/srv"), "n": 1})
    found = json.loads(capsys.readouterr().out)
    assert found["backup"]["stop_lsn"] == "0/2000120"
    assert found["at"] == "2026-01-31T00:00:00+00:00"
    assert found["where"] == "/srv"


def test_an_id_is_never_broken_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    render.table(("id", "what"), [("20260131T020000Z-7c1e", "x" * 60), ("[red]not markup[/]", "")])
    out = capsys.readouterr().out
    assert "20260131T020000Z-7c1e" in out


def test_without_a_terminal_each_phase_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with render.progress(quiet=False) as bars:
        bars.begin("back up", 100)
        bars.advance(50)
        bars.say("look at this [1]")
    said = capsys.readouterr()
    assert said.out == ""
    assert "back up …" in said.err
    assert "look at this [1]" in said.err


def test_quiet_leaves_out_the_bars_and_not_the_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    with render.progress(quiet=True) as bars:
        bars.begin("back up", 100)
        bars.advance(50)
        bars.say("Aborted the orphaned upload of [a].")
    assert capsys.readouterr() == ("", "Aborted the orphaned upload of [a].\n")
