"""What `ops status` calls a problem, what it warns of, and what it advises."""

from datetime import timedelta
from typing import Any

import pytest

from ops_workflows.backup.wal_status import WalStatus
from ops_workflows.proof.forecast import Breaking, Forecast
from ops_workflows.proof.protection import Protection
from ops_workflows.repository.drills import DrillCheck, DrillRecord
from ops_workflows.repository.proofs import Proof
from ops_workflows.repository.rungs import Rung
from ops_workflows.repository.standing import standing
from tests.support.records import MOMENT, backup

OLDER, NEWER = backup(id="20260130T020000Z-0000"), backup(id="20260131T020000Z-0000")
OBJECTIVE = 900


def a_drill(days_ago: float = 1) -> DrillRecord:
    return DrillRecord(
        id="20260130T040000Z-0000",
        system=NEWER.system,
        at=MOMENT - timedelta(days=days_ago),
        backup_id=NEWER.id,
        backups=1,
        backup_finished_at=NEWER.finished_at,
        timeline=1,
        moment="latest",
        chosen="a test",
        database_bytes=1000,
        stored_bytes=500,
        wal_bytes=0,
        rto_seconds=10,
        rto_objective_seconds=OBJECTIVE,
        rpo_seconds=1,
        rpo_objective_seconds=60,
        seconds={},
        checks=(DrillCheck(name="rto", passed=True, finding=""), DrillCheck(name="rpo", passed=True, finding="")),
        versions={},
    )


def shown(backup_id: str, *rungs: Rung, days_ago: float = 1, failed: Rung | None = None) -> dict[str, Proof]:
    at = MOMENT - timedelta(days=days_ago)
    return {
        rung: Proof(backup_id=backup_id, what=rung, passed=rung is not failed, finding="", at=at, seconds=1)
        for rung in rungs
    }


def protection(proofs: dict[str, Proof] | None = None, **more: Any) -> Protection:
    """Of a database that is protected, with whatever is said to be different."""
    usual: dict[str, Any] = {
        "wal": WalStatus(
            receiver="it streams",
            receiving=True,
            ranges=(),
            gaps=(),
            window=(MOMENT - timedelta(days=1), MOMENT),
            cut_off=None,
            position=None,
            lag_bytes=0,
            lag_seconds=0,
            objective_seconds=60,
        ),
        "newest": NEWER,
        "proved": NEWER,
        "standings": {NEWER.id: standing(proofs or shown(NEWER.id, *Rung), MOMENT, 7)},
        "rpo_seconds": 1.0,
        "rpo_objective_seconds": 60,
        "forecast": Forecast(100, 50, 200, {}, 5),
        "unmeasured": (),
        "breaking": None,
        "rto_objective_seconds": OBJECTIVE,
        "last_drill": a_drill(),
        "at": MOMENT,
    }
    return Protection(**(usual | more))


def test_nothing_is_said_where_all_is_well() -> None:
    assert (protection().problems(), protection().warnings()) == ([], [])


def test_a_proof_of_long_ago_protects_nobody() -> None:
    (said,) = protection(shown(NEWER.id, *Rung, days_ago=9)).problems()
    assert f"{NEWER.id}, the newest that was shown to be booted, was shown to be so 9 days ago" in said


def test_a_rung_above_that_was_shown_lately_is_enough_and_one_below_is_not() -> None:
    old = shown(NEWER.id, Rung.STORED, Rung.CHECKSUMMED, Rung.BOOTED, days_ago=9)
    assert protection(old | shown(NEWER.id, Rung.SOUND)).problems() == []
    assert len(protection(old | shown(NEWER.id, Rung.STORED, Rung.CHECKSUMMED)).problems()) == 1


@pytest.mark.parametrize("rung", [Rung.STORED, Rung.EXACT])
def test_the_advice_climbs_up_to_the_rung_that_failed(rung: Rung) -> None:
    standings = {
        OLDER.id: standing(shown(OLDER.id, *Rung, failed=rung), MOMENT, 7),
        NEWER.id: standing(shown(NEWER.id, *Rung), MOMENT, 7),
    }
    (said,) = protection(standings=standings).problems()
    assert said == f"Backup {OLDER.id} is not {rung}: see `ops verify --backup {OLDER.id} --rung {rung}`."


@pytest.mark.parametrize(("days", "warns"), [(7.9, False), (8.1, True)])
def test_a_drill_of_long_ago_is_warned_of(days: float, warns: bool) -> None:
    found = protection(last_drill=a_drill(days))
    assert found.problems() == []
    assert [said for said in found.warnings() if "was 8 days ago: run `ops drill`" in said] == found.warnings()
    assert bool(found.warnings()) is warns


@pytest.mark.parametrize(
    ("days", "keeps"), [(None, True), (0, False), (29, False), (31, True)], ids=["unknown", "now", "soon", "later"]
)
def test_an_objective_that_breaks_soon_is_warned_of_while_it_is_kept(days: int | None, keeps: bool) -> None:
    on = None if days is None else (MOMENT + timedelta(days=days)).date()
    found = protection(breaking=Breaking(2000, on))
    assert found.keeps_rto is keeps
    assert found.warnings() == ([] if keeps else [f"RTO: {found.rto_sentence}"])
    assert found.problems() == []


def test_an_objective_that_does_not_break_at_any_size_is_kept() -> None:
    assert protection().keeps_rto
    assert not protection(forecast=Forecast(100, 50, OBJECTIVE + 1, {}, 5)).keeps_rto
    assert not protection(forecast=None).keeps_rto
