"""What the benchmarks conclude from figures: verdicts, missing peers, and when they refuse to begin."""

from pathlib import Path

import pytest

from benchmarks import claims, table
from benchmarks.contender import Restored
from benchmarks.machine import Others
from benchmarks.measure import BenchmarkError, Measured, measure
from benchmarks.rounds import Turn
from benchmarks.workplace import workplace


def turn(backup: float, restore: float | None = None, *, verify: float = 0, peak: int = 100_000_000) -> Turn:
    restored = Restored(Measured(restore + verify, peak, 1, ""), {"verify": verify}) if restore else None
    return Turn(Measured(backup, peak, 1, ""), restored, others=0)


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Turn]]:
    """Everyone takes 10 s for either, thrice."""
    monkeypatch.setattr("benchmarks.peers.shutil.which", lambda _name: "/usr/bin/it")
    monkeypatch.setattr("benchmarks.barman.missing", lambda: None)
    return {contender.name: [turn(10, 10)] * 3 for contender in claims.CONTENDERS}


def row(rows: list[table.Row], section: str, name: str) -> table.Row:
    (found,) = [row for row in rows if row.section.startswith(section) and row.name == name]
    return found


def test_median_of_ours_is_held_against_median_of_the_peer(turns: dict[str, list[Turn]]) -> None:
    turns[claims.OURS_TLS.name] = [turn(3, 9), turn(60, 60), turn(2, 9)]
    rows = table.compared(turns)
    peer = claims.PGBACKREST.name
    assert row(rows, "backup", peer).ratio == pytest.approx(0.3)
    assert row(rows, "backup", peer).verdict == "PASS"
    assert row(rows, "restore:", peer).ratio == pytest.approx(0.9)


def test_a_missed_bound_is_called_so(turns: dict[str, list[Turn]]) -> None:
    rows = table.compared(turns)
    assert row(rows, "backup", claims.BASEBACKUP.name).verdict == "PASS"
    assert row(rows, "backup", claims.BARMAN.name).verdict == "MISS"
    # Faster is claimed at lz4, so equal is not enough; at restores no slower is.
    assert row(rows, "backup", claims.PGBACKREST_LZ4.name).verdict == "MISS"
    assert row(rows, "restore:", claims.PGBACKREST_LZ4.name).verdict == "PASS"


def test_every_claim_has_its_row(turns: dict[str, list[Turn]]) -> None:
    judged = [row for row in table.compared(turns) if row.verdict]
    assert len(judged) == len(claims.CLAIMS)


def test_a_peer_that_is_missing_is_shown_as_missing(
    turns: dict[str, list[Turn]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.peers.shutil.which", lambda _name: None)
    present = {name: taken for name, taken in turns.items() if not name.startswith("pgBackRest")}
    rows = table.compared(present)
    assert row(rows, "backup", claims.PGBACKREST.name).note == "not installed: apt install pgbackrest"
    table.show(rows, "title")
    assert "apt install pgbackrest" in capsys.readouterr().out


def test_verification_is_left_out_and_shown_apart(turns: dict[str, list[Turn]]) -> None:
    turns[claims.OURS_TLS.name] = [turn(10, 5, verify=4)]
    rows = table.compared(turns)
    assert row(rows, "restore:", claims.OURS_TLS.name).median == pytest.approx(5)
    assert row(rows, "restore, besides", f"verify, {claims.OURS_TLS.name}").median == 4


@pytest.mark.parametrize(
    ("small", "large", "verdicts"),
    [
        (100, 109, ["PASS", "PASS", "PASS"]),
        (100, 120, ["PASS", "PASS", "MISS"]),
        (140, 151, ["PASS", "MISS", "PASS"]),
    ],
)
def test_memory_has_a_bound_and_stays_the_same(small: int, large: int, verdicts: list[str]) -> None:
    peaks = [[turn(1, peak=megabytes * 1_000_000)] for megabytes in (small, large)]
    assert [row.verdict for row in table.memory(peaks[0], peaks[1], ("small", "large"))] == verdicts


def test_too_little_room_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with (
        pytest.raises(BenchmarkError, match=r"GB free and the benchmark needs .* name a folder"),
        workplace(tmp_path, 10**18),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_a_program_is_measured_as_a_whole(tmp_path: Path) -> None:
    done = measure(["sh", "-c", "sleep 0.2; echo done"], log=tmp_path / "log")
    assert done.output == "done\n"
    assert done.seconds > 0.2
    assert done.peak_bytes > 0


def test_a_program_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"sh failed \(exit code 3\):\s+no luck"):
        measure(["sh", "-c", "echo no luck >&2; exit 3"], log=tmp_path / "log")


def test_work_of_a_program_is_its_own(tmp_path: Path) -> None:
    others = Others([])
    done = measure(["sh", "-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"], log=tmp_path / "log")
    assert done.cpu_seconds > 0.05
    assert 0 <= others.share(done) <= 1.5
