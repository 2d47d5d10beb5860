"""The page of a drill: what it says, that nothing in a record can break it, and where the marks of its charts are."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_workflows.proof import report as module
from ops_workflows.proof.charts import BOTTOM, TOP, UNKNOWN, Measure, bars, history, span
from ops_workflows.proof.report import report, size, when
from ops_workflows.repository.drills import DrillCheck, DrillRecord

NOW = datetime(2026, 3, 31, 4, 10, 5, tzinfo=UTC)
DASH = "\u2013"
HOSTILE = "<script>alert('x')</script>&\"' {{ 7 * 7 }}"
PHASES = {"fetch and extract": 0.6, "verify": 0.2, "recover and start": 0.9, "check: exact": 0.1, "check: sound": 2.4}


def a_check(name: str, passed: bool | None = True, finding: str = "") -> DrillCheck:
    return DrillCheck(name=name, passed=passed, finding=finding or f"What was found of {name}.")


def a_drill(days_ago: float = 0, *checks: DrillCheck, **more: Any) -> DrillRecord:
    """A small drill that passed, with whatever is said to be different."""
    at = NOW - timedelta(days=days_ago)
    usual: dict[str, Any] = {
        "id": f"{at:%Y%m%dT%H%M%SZ}-7c1e",
        "system": "7711281658445912347",
        "at": at,
        "backup_id": "20260331T020000Z-3fa9",
        "backups": 3,
        "backup_finished_at": at - timedelta(hours=2),
        "timeline": 2,
        "moment": "2026-03-31T03:17:05+00:00",
        "chosen": "a random moment from the oldest backup",
        "database_bytes": 148_300_000,
        "stored_bytes": 21_900_000,
        "wal_bytes": 67_108_864,
        "rto_seconds": 1.7,
        "rto_objective_seconds": 900,
        "rpo_seconds": 3.2,
        "rpo_objective_seconds": 60,
        "seconds": PHASES,
        "checks": checks or (a_check("rto"), a_check("rpo"), a_check("exact"), a_check("smoke", None)),
        "versions": {"postgresql": "18.1", "ops_workflows": "0.1.0"},
    }
    return DrillRecord(**(usual | more))


def page(drill: DrillRecord, past: Sequence[DrillRecord] = ()) -> ET.Element:
    """The page as XML: it is written so that a parser that forgives nothing reads it."""
    return ET.fromstring(report(drill, past))  # noqa: S314


def text(element: ET.Element) -> str:
    return " ".join(" ".join(element.itertext()).split())


def said(drill: DrillRecord, past: Sequence[DrillRecord] = ()) -> str:
    """What a person reads."""
    body = page(drill, past).find("body")
    assert body is not None
    return text(body)


def facts(found: ET.Element) -> dict[str, str]:
    rows = found.findall(".//table[@class='facts']//tr")
    return {text(row[0]): text(row[1]) for row in rows}


def charts(found: ET.Element, kind: str) -> list[ET.Element]:
    return found.findall(f".//svg[@class='chart {kind}']")


def test_a_drill_that_passed() -> None:
    found = page(a_drill())
    assert text(found.findall(".//h1")[0]) == "✓ The drill passed"
    assert found.findtext("head/title") == "Restore drill 20260331T041005Z-7c1e: passed"
    assert "The database answered 1.7 s after “go”. No check failed. Not looked at: smoke." in text(found)
    assert "failed" not in text(found.findall(".//main")[0])


def test_a_drill_that_failed_says_so_and_what() -> None:
    found = page(a_drill(0, a_check("rto"), a_check("rpo"), a_check("exact", False), a_check("smoke", False)))
    assert text(found.findall(".//h1")[0]) == "✗ The drill failed"
    assert str(found.findtext("head/title")).endswith(": failed")
    assert "Failed: exact, smoke." in text(found)
    assert "passed" not in text(found.findall(".//header")[0])


def test_without_a_measure_nothing_failed_but_it_did_not_pass() -> None:
    found = said(a_drill(0, a_check("rto"), a_check("rpo", None), rpo_seconds=None))
    assert "✗ The drill failed" in found
    assert "both RTO and RPO were measured, and one was not" in found


def test_each_check_with_its_outcome_and_finding() -> None:
    checks = (a_check("rto"), a_check("rpo", False, "A row is 2 h old."), a_check("smoke", None, "There is no file."))
    found = page(a_drill(0, *checks, a_check("novel")))
    rows = [[text(cell) for cell in row] for row in found.findall(".//table[@class='checks']/tbody/tr")]
    assert rows == [
        ["rto ✓ passed", "What was found of rto."],
        ["rpo ✗ failed", "A row is 2 h old."],
        [
            f"smoke {DASH} not looked at",
            "There is no file. Passes if the application's own queries have the answers that they must have.",
        ],
        ["novel ✓ passed", "What was found of novel."],
    ]


def test_what_was_restored_and_with_what() -> None:
    east = timezone(timedelta(hours=5, minutes=30))
    found = facts(page(a_drill(backup_finished_at=NOW.astimezone(east))))
    assert found == {
        "Cluster": "7711281658445912347",
        "Backup": "20260331T020000Z-3fa9",
        "Backup finished": "2026-03-31 04:10:05 UTC",
        "Chain": "3 backups: a full one, and 2 on top of it",
        "Database": "148.3 MB",
        "Stored in the bucket": "21.9 MB",
        "WAL to be replayed": "67.1 MB",
        "To the moment": "2026-03-31T03:17:05+00:00",
        "Why these": "a random moment from the oldest backup",
        "Timeline": "2",
        "postgresql": "18.1",
        "ops_workflows": "0.1.0",
    }
    assert facts(page(a_drill(backups=1)))["Chain"] == "1 backup: a full one"


def test_measures_beside_their_objectives() -> None:
    drill = a_drill(0, a_check("rto", False), a_check("rpo"), rto_seconds=1803.0)
    rto, rpo = (text(each) for each in page(drill).findall(".//section"))
    assert "last 30 min 3 s · objective 15 min" in said(drill)
    assert rto.startswith("Recovery time (RTO) 30 min 3 s ✗ missed · objective 15 min")
    assert rpo.startswith("Recovery point (RPO) 3.2 s ✓ kept · objective 1 min")


def test_a_measure_that_is_not_known() -> None:
    drill = a_drill(0, a_check("booted", False), a_check("rto", None), a_check("rpo", None), rto_seconds=None)
    rto, rpo = (text(each) for each in page(drill).findall(".//section"))
    assert rto.startswith(f"Recovery time (RTO) unknown {DASH} not measured")
    assert rpo.startswith(f"Recovery point (RPO) 3.2 s {DASH} not judged")
    chart = charts(page(drill), "history")[0]
    assert "0 kept the objective, 0 missed it, 1 unknown. Last: unknown" in text(chart)
    assert chart.findall(".//svg[@class='point']/circle[@class='mark unknown']")


def test_from_what_and_when_the_page_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "utc_now", lambda: NOW + timedelta(minutes=1))
    footer = text(page(a_drill()).findall(".//footer")[0])
    assert footer.startswith("Made at 2026-03-31 04:11:05 UTC by ops_workflows ")
    assert "from the record drill.json of drill 20260331T041005Z-7c1e" in footer


def test_a_hostile_record_is_only_text() -> None:
    drill = a_drill(
        0,
        a_check("rto"),
        a_check(HOSTILE, False, HOSTILE),
        id=HOSTILE,
        system=HOSTILE,
        backup_id=HOSTILE,
        moment=HOSTILE,
        chosen=HOSTILE,
        seconds={HOSTILE: 1.0, f"check: {HOSTILE}": 1.0},
        versions={HOSTILE: HOSTILE},
    )
    written = report(drill, ())
    assert "<script" not in written
    found = page(drill)
    assert {each.tag for each in found.iter()} == {each.tag for each in page(a_drill()).iter()}
    assert facts(found)["To the moment"] == HOSTILE
    assert facts(found)[HOSTILE] == HOSTILE
    # Wherever it is, it is text, just as it was written.
    assert "".join(found.itertext()).count(HOSTILE) == written.count("alert") > 10


def test_it_needs_nothing_else() -> None:
    written = report(a_drill(), [a_drill(days) for days in range(9, 0, -1)])
    assert "http" not in written
    assert not re.search(r"url\(|@import|<script|\bsrc=| on\w+=", written)
    assert re.findall(r'href="([^"]*)"', written) == ["data:,"]
    assert written.startswith("<!DOCTYPE html>")


def test_what_is_drawn_is_also_told() -> None:
    found = page(a_drill(), [a_drill(1)])
    drawn = [*charts(found, "phases"), *charts(found, "history")]
    assert len(drawn) == 4
    ids = [element.get("id") for element in found.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    for each in drawn:
        assert each.get("role") == "img"
        assert [child.tag for child in each][:2] == ["title", "desc"]
        assert str(each.get("aria-labelledby")).split() == [each[0].get("id"), each[1].get("id")]
    for table in found.findall(".//table"):
        assert all(row.find("th") is not None for row in table.findall(".//tr"))
        assert all(head.get("scope") in {"row", "col"} for head in table.findall(".//th"))


def test_phases_on_the_clock_are_apart_from_those_of_checks() -> None:
    clocked, checking = charts(page(a_drill()), "phases")
    names = [[group.findtext("text") for group in each.findall("g")] for each in (clocked, checking)]
    assert names == [["fetch and extract", "verify", "recover and start"], ["exact", "sound"]]
    for each in (clocked, checking):
        drawn = [group.findall("rect")[1] for group in each.findall("g")]
        assert sum(float(str(rect.get("width")).rstrip("%")) for rect in drawn) == pytest.approx(100, abs=0.01)
    assert "1.7 s together" in said(a_drill())
    assert "2.5 s together" in said(a_drill())


def test_no_phases() -> None:
    found = page(a_drill(seconds={}))
    assert not charts(found, "phases")
    assert text(found).count("no phases") == 2


def test_one_drill_and_many() -> None:
    alone = page(a_drill())
    assert "The first drill on record" in text(alone)
    past = [a_drill(days, rto_seconds=None if days == 4 else float(days)) for days in range(12, 0, -1)]
    # The newer one and the drill itself, as they may lie in the bucket, too, are not before it.
    many = page(a_drill(), [*past, a_drill(), a_drill(-1)])
    assert "The last 13 drills" in text(many)
    for found, points, lines in ((alone, 1, 0), (many, 13, 10)):
        chart = charts(found, "history")[0]
        assert len(chart.findall("svg[@class='point']")) == points
        assert len(chart.findall("line[@class='run']")) == lines
        assert len(found.findall(".//details//tbody/tr")) == points
    newest = [text(cell) for cell in many.findall(".//details//tbody/tr")[0]]
    assert newest == ["2026-03-31 04:10:05 UTC", "✓ passed", "1.7 s", "3.2 s"]
    assert "unknown" in text(many.findall(".//details//tbody/tr")[4])


@given(st.dictionaries(st.text(), st.floats(0, 1e5), max_size=12))
def test_bars_follow_each_other_and_sum_to_the_whole(phases: dict[str, float]) -> None:
    laid = bars(phases)
    assert [(bar.name, bar.seconds) for bar in laid.bars] == list(phases.items())
    assert laid.seconds == sum(phases.values())
    before = 0.0
    for bar in laid.bars:
        assert bar.left == pytest.approx(before, abs=1e-6)
        assert bar.width * laid.seconds == pytest.approx(100 * bar.seconds)
        before += bar.width
    assert before == pytest.approx(100 if laid.seconds else 0)


MEASURES = st.builds(
    Measure,
    at=st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    seconds=st.none() | st.floats(-5, 1e7),
    objective=st.integers(0, 10_000_000),
)


@given(st.lists(MEASURES, min_size=1, max_size=30).map(lambda each: sorted(each, key=lambda one: one.at)))
def test_whatever_was_measured_it_is_inside_the_chart(measures: list[Measure]) -> None:
    laid = history(measures)
    assert [point.measure for point in laid.points] == measures
    assert [point.x for point in laid.points] == sorted(point.x for point in laid.points)
    assert all(0 <= point.x <= 100 for point in laid.points)
    for point in laid.points:
        if point.measure.seconds is None:
            assert point.y == UNKNOWN
        else:
            assert TOP - 0.01 <= point.y <= BOTTOM + 0.01
    assert all(TOP - 0.01 <= y <= BOTTOM + 0.01 for line in laid.objective for y in (line.y1, line.y2))
    assert sum(laid.count(kept) for kept in (True, False, None)) == len(measures)
    ys = [tick.y for tick in laid.ticks]
    assert ys == sorted(ys, reverse=True)
    assert ys  # a scale without a single label says nothing


def test_a_chart_has_gaps_and_the_objective_its_steps() -> None:
    days = [NOW + timedelta(days=day) for day in range(4)]
    laid = history([Measure(at, s, o) for at, s, o in zip(days, (2.0, 4.0, None, 9.0), (10, 10, 10, 8), strict=True)])
    assert len(laid.lines) == 1
    assert laid.points[0].y > laid.points[1].y > laid.points[3].y
    along, step, after = laid.objective
    assert along.y1 == along.y2 < after.y1 == after.y2
    assert (step.x1, step.x2) == (laid.points[3].x, laid.points[3].x)
    assert [laid.count(kept) for kept in (True, False, None)] == [2, 1, 1]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "unknown"),
        (0, "0 s"),
        (0.03, "30 ms"),
        (1.72, "1.7 s"),
        (60, "1 min"),
        (59.96, "1 min"),
        (723, "12 min 3 s"),
        (900, "15 min"),
        (3599.7, "1 h"),
        (7500, "2 h 5 min"),
        (183_600, "2 d 3 h"),
        (-2, "-2 s"),
    ],
)
def test_spans(seconds: float | None, words: str) -> None:
    assert span(seconds) == words


def test_sizes_and_moments() -> None:
    assert [size(count) for count in (0, 999, 1500, 21_900_000, 3e9, 5e15)] == [
        "0 B",
        "999 B",
        "1.5 kB",
        "21.9 MB",
        "3.0 GB",
        "5,000.0 TB",
    ]
    assert when(NOW.astimezone(timezone(timedelta(hours=-7)))) == "2026-03-31 04:10:05 UTC"
