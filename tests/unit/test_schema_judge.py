"""What a rehearsal's measurements mean, held against limits; and what of the watching is kept."""

from pathlib import Path

import pytest

from ops_workflows.repository.rehearsals import FileTold, LockTold, RehearsalCheck, StatementTold, TrafficTold
from ops_workflows.schema.apply import Applied
from ops_workflows.schema.judge import Limits, judge
from ops_workflows.schema.plan import Direction
from ops_workflows.schema.source import Source, read_source
from ops_workflows.schema.told import tell
from ops_workflows.schema.watch import Lock, Watched

LIMITS = Limits(lock_seconds=2, seconds=60)


def statement(
    *locks: tuple[str, str, float], waits: dict[str, float] | None = None, rewritten: tuple[str, ...] = ()
) -> StatementTold:
    return StatementTold(
        line=3,
        text="alter table a …",
        seconds=1,
        waited_seconds=0,
        locks=tuple(LockTold(table=table, mode=mode, seconds=seconds) for table, mode, seconds in locks),
        waits=waits or {},
        rewritten=rewritten,
        grown_bytes=0,
        rows=0,
    )


def file(*statements: StatementTold, seconds: float = 1) -> FileTold:
    return FileTold(file="000002_a.up.sql", direction="up", sha256="", seconds=seconds, statements=statements)


def fared(name: str, before: str = "", since: str = "") -> TrafficTold:
    return TrafficTold(
        name=name, before_seconds=0.1, during_seconds=0.1, sent=1200, failed_before=before, failed_since=since
    )


def judged(*files: FileTold, traffic: list[TrafficTold] | None = None) -> dict[str, RehearsalCheck]:
    return {check.name: check for check in judge(files, traffic, LIMITS)}


@pytest.mark.parametrize(
    ("mode", "seconds", "passed"),
    [
        ("AccessExclusiveLock", 2.01, False),
        ("AccessExclusiveLock", 2.0, True),
        ("ExclusiveLock", 3, False),
        ("ShareRowExclusiveLock", 3, False),
        ("ShareLock", 3, False),
        ("ShareUpdateExclusiveLock", 3000, True),
        ("RowExclusiveLock", 3000, True),
        ("AccessShareLock", 3000, True),
    ],
)
def test_only_a_lock_that_keeps_others_out_for_longer_than_the_limit_fails(
    mode: str, seconds: float, passed: bool
) -> None:
    assert judged(file(statement(("public.a", mode, seconds))))["locks"].passed is passed


def test_the_longest_lock_of_a_statement_is_named_with_what_else_it_keeps_others_from() -> None:
    locks = [("public.a", "ShareLock", 2.4), ("public.b", "AccessExclusiveLock", 2.4), ("public.c", "ShareLock", 2.1)]
    harmless = ("public.d", "RowExclusiveLock", 9.0)
    check = judged(file(statement(*locks, harmless, rewritten=("public.b",))))["locks"]
    assert check.finding == (
        "000002_a.up.sql, line 3, holds AccessExclusiveLock on public.b and 2 more tables, rewriting 1, for 2.40 s; "
        "2 s are allowed."
    )


def test_of_many_faults_five_are_named_and_the_others_counted() -> None:
    many = [statement((f"public.t{number}", "ShareLock", 5)) for number in range(8)]
    finding = judged(file(*many))["locks"].finding
    assert [f"public.t{number}," in finding for number in range(8)] == [True] * 5 + [False] * 3
    assert finding.endswith(" And 3 more.")


def test_the_longest_lock_is_told_where_none_is_too_long() -> None:
    good = judged(file(statement(("public.a", "ShareLock", 0.5)), statement(("public.b", "AccessExclusiveLock", 1.25))))
    assert good["locks"].finding == "The longest is AccessExclusiveLock on public.b, 1.25 s; 2 s are allowed."
    assert judged(file(statement()))["locks"].finding.startswith("No table")


@pytest.mark.parametrize(("seconds", "passed"), [(2.0, True), (2.01, False)])
def test_a_wait_behind_a_statement_fails_beyond_the_limit(seconds: float, passed: bool) -> None:
    check = judged(file(statement(waits={"an order": seconds, "a login": 0.1})), traffic=[fared("an order")])["waits"]
    assert check.passed is passed
    assert "a login" not in check.finding
    assert ("“an order” waits 2.01 s behind 000002_a.up.sql, line 3" in check.finding) is not passed
    assert ("longer than 2.00 s" in check.finding) is passed


@pytest.mark.parametrize(("seconds", "passed"), [((30.0, 30.0), True), ((30.0, 30.1), False)])
def test_all_files_together_have_the_time_that_is_allowed(seconds: tuple[float, float], passed: bool) -> None:
    files = [file(statement(rewritten=(f"public.t{at}",)), seconds=each) for at, each in enumerate(seconds)]
    check = judged(*files)["duration"]
    assert check.passed is passed
    assert f"{sum(seconds):.2f} s, 60 s are allowed. Rewritten: public.t0, public.t1." in check.finding


def test_traffic_that_fails_since_the_migration_fails_it() -> None:
    traffic = [fared("an order"), fared("a login", since="UndefinedColumn: column “x” does not exist")]
    check = judged(file(statement()), traffic=traffic)["traffic"]
    assert check.passed is False
    assert check.finding == (
        "“a login” works before the migration and fails since: UndefinedColumn: column “x” does not exist."
    )


@pytest.mark.parametrize("since", ["", "the same"])
def test_traffic_that_failed_before_says_nothing_of_the_migration(since: str) -> None:
    check = judged(file(statement()), traffic=[fared("an order"), fared("a login", "broken", since)])["traffic"]
    assert check.passed is True
    assert "2,400 statements" in check.finding
    assert "says nothing of a login" in check.finding


def test_traffic_of_which_nothing_worked_before_is_not_good_enough() -> None:
    check = judged(file(statement()), traffic=[fared("an order", "broken"), fared("a login", "broken", "broken")])
    assert check["traffic"].passed is False
    assert "failed before the migration" in check["traffic"].finding


def test_without_traffic_there_is_no_verdict_on_it() -> None:
    checks = judged(file(statement()))
    assert checks["traffic"].passed is None
    assert checks["waits"].passed is True
    assert "no traffic" in checks["waits"].finding


def test_nothing_done_is_nothing_against_it() -> None:
    assert [check.passed for check in judge([], [fared("an order")], LIMITS)] == [True] * 4


def watched(source: Source, number: int, *locks: Lock, seconds: float = 0.25) -> Watched:
    return Watched(source, source.statements[number], began=0, seconds=seconds, locks=list(locks), rows=number)


def test_what_is_kept_says_file_by_file_what_its_statements_did(tmp_path: Path) -> None:
    texts = {
        "000001_a.up.sql": "-- first\n\nalter table a\n  add   b int;\nselect 1;",
        "000002_b.down.sql": "select 2;",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    first, second = (read_source(tmp_path / name) for name in texts)
    lock = Lock("public.a", "AccessExclusiveLock", 0.5)
    applied = Applied("public", Direction.UP, 1, "a", "000001_a.up.sql", seconds=0.75)
    found = list(tell([watched(first, 0, lock), watched(first, 1), watched(second, 0)], [applied]))
    assert [(each.file, each.direction, each.sha256) for each in found] == [
        ("000001_a.up.sql", "up", first.sha256),
        ("000002_b.down.sql", "down", second.sha256),
    ]
    assert [each.seconds for each in found] == [0.75, 0.25]  # the second failed: there is no more than its statements
    told = found[0].statements
    assert [(each.line, each.text, each.rows) for each in told] == [
        (3, "alter table a add b int", 0),
        (5, "select 1", 1),
    ]
    assert told[0].locks == (LockTold(table="public.a", mode="AccessExclusiveLock", seconds=0.5),)


def test_of_a_long_statement_the_beginning_is_kept(tmp_path: Path) -> None:
    (tmp_path / "000001_a.up.sql").write_text(f'select "{"é" * 500}";')
    source = read_source(tmp_path / "000001_a.up.sql")
    ((told,),) = (each.statements for each in tell([watched(source, 0)], []))
    assert told.text == f'select "{"é" * 152}…'


def test_of_a_text_nothing_is_kept_for_it_may_be_a_password(tmp_path: Path) -> None:
    (tmp_path / "000001_a.up.sql").write_text(
        "create role app\n  password 'x''y' /* x */ valid until $t$x$t$;\nselect 'x"
    )
    source = read_source(tmp_path / "000001_a.up.sql")
    ((role, never_ended),) = (each.statements for each in tell([watched(source, 0), watched(source, 1)], []))
    assert role.text == "create role app password '…' valid until '…'"
    assert never_ended.text == "select '…"
