"""What the fault suite makes of what it saw, and which kinds there are."""

from collections import Counter
from pathlib import Path

import pytest

from ops_workflows.faults import healthy
from ops_workflows.faults.outcome import CATALOGUE, RESTORABLE, Caught, Outcome, Summary, Verdict, judge
from ops_workflows.faults.suite import as_markdown, faults
from ops_workflows.repository.rungs import Rung


@pytest.mark.parametrize(
    ("must", "words", "caught", "verdict"),
    [
        (Rung.SOUND, ("victim",), Caught("sound", "index victim is broken"), Verdict.DETECTED),
        (Rung.SOUND, ("victim",), Caught("booted", "victim cannot be read"), Verdict.DETECTED),
        (Rung.SOUND, ("victim",), Caught("exact", "victim is missing"), Verdict.MISSED),
        (Rung.SOUND, ("victim",), Caught(None, "victim is fine"), Verdict.MISSED),
        (Rung.SOUND, ("victim", "index"), Caught("sound", "victim is broken"), Verdict.MISSED),
        (Rung.STORED, (), Caught(CATALOGUE, "the record cannot be read"), Verdict.DETECTED),
        (CATALOGUE, (), Caught("stored", "base.tar is missing"), Verdict.MISSED),
        (RESTORABLE, (), Caught(RESTORABLE, "a row is missing"), Verdict.DETECTED),
        (RESTORABLE, (), Caught(CATALOGUE, "dump.json cannot be read"), Verdict.DETECTED),
    ],
)
def test_a_fault_is_noticed_by_a_rung_no_higher_than_it_must_be_and_is_named(
    must: str, words: tuple[str, ...], caught: Caught, verdict: Verdict
) -> None:
    assert judge(must, words, caught)[0] is verdict


def summary(*verdicts: Verdict) -> Summary:
    faulty = {Verdict.DETECTED, Verdict.MISSED}
    outcomes = (
        Outcome(str(number), "family", "stored" if verdict in faulty else None, None, "", verdict)
        for number, verdict in enumerate(verdicts)
    )
    return Summary(7, tuple(outcomes), 1.0)


@pytest.mark.parametrize("wrong", [Verdict.MISSED, Verdict.FALSE_ALARM, Verdict.BROKEN])
def test_one_that_is_wrong_fails_them_all(wrong: Verdict) -> None:
    right = [Verdict.DETECTED, Verdict.QUIET, Verdict.SKIPPED]
    assert summary(*right).passed
    assert not summary(*right, wrong).passed


def test_where_all_was_skipped_nothing_was_shown() -> None:
    assert not summary(Verdict.SKIPPED).passed
    assert summary(Verdict.SKIPPED).rate is None


def test_the_rate_counts_what_was_tried() -> None:
    made = summary(Verdict.DETECTED, Verdict.DETECTED, Verdict.DETECTED, Verdict.MISSED, Verdict.QUIET, Verdict.SKIPPED)
    assert made.rate == 0.75
    assert made.sentence().startswith("Detection rate: 75.0% (3 of 4). False alarms: 0 of 1. Skipped: 1. Broken: 0.")
    plain = made.as_dict()
    assert (plain["detection_rate"], plain["passed"], plain["seed"]) == (0.75, False, 7)


def test_there_are_as_many_kinds_as_were_promised_and_each_has_its_own_name() -> None:
    kinds = [fault.kind for fault in faults()]
    variations = [kind for each in healthy.variations() for kind in each.kinds]
    assert len(kinds) >= 40
    assert len(variations) >= 20
    assert [name for name, count in Counter(kinds + variations).items() if count > 1] == []


def test_the_documentation_has_the_table_of_kinds() -> None:
    """Made by `python -c "from ops_workflows.faults.suite import as_markdown; print(as_markdown())"`."""
    assert as_markdown() in (Path(__file__).parents[2] / "docs/proof.md").read_text()


def test_every_rung_is_the_one_that_must_catch_some_kind() -> None:
    assert {fault.must for fault in faults()} == {CATALOGUE, *Rung, RESTORABLE}


def test_the_fast_subset_has_one_kind_of_each_family_that_every_machine_can_try() -> None:
    every = {fault.family for fault in faults()}
    assert {fault.family for fault in faults() if fault.fast} == every - {"machine"}
