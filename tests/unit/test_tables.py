"""What is said of readings: triggers, estimates, ends of sequences, indexes that replace each other."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ops_workflows.settings import Settings
from ops_workflows.tables.bloat import bloat, wasted_bytes
from ops_workflows.tables.defs import _CHECKS
from ops_workflows.tables.estimate import btree_bytes, heap_bytes
from ops_workflows.tables.findings import Finding, Kind, Outcome, Verdict, unknown, warning
from ops_workflows.tables.indexes import duplicate, replaces, unused
from ops_workflows.tables.look import judge
from ops_workflows.tables.readings import (
    Circumstances,
    Column,
    Holder,
    Index,
    Measured,
    Number,
    Parent,
    Readings,
    Table,
    Vacuum,
)
from ops_workflows.tables.sequences import left_for, sequences, used
from ops_workflows.tables.thresholds import Thresholds
from ops_workflows.tables.vacuum import autovacuum, dead_rows, dead_rows_due

NOW = datetime(2026, 3, 1, 5, 40, tzinfo=UTC)
LIMITS = Thresholds()
MB = 1024**2
SERVER = Circumstances(
    database="app",
    is_standby=False,
    now=NOW,
    counted_since=NOW - timedelta(days=60),
    sees_all=True,
    counts=True,
    autovacuum=True,
    most_workers=3,
    workers=0,
    vacuum_threshold=50,
    vacuum_scale_factor=0.2,
    vacuum_max_threshold=None,
    block_bytes=8192,
    pgstattuple=None,
)
TABLE = Table(
    oid=1,
    name="public.t",
    is_toast=False,
    is_heap=True,
    reltuples=1_000_000,
    pages=12_800,
    bytes=100 * MB,
    fillfactor=100,
    live_rows=1_000_000,
    dead_rows=0,
    vacuumed_at=NOW - timedelta(hours=1),
    analyzed_at=NOW - timedelta(hours=1),
    autovacuum=True,
    vacuum_threshold=None,
    vacuum_scale_factor=None,
    vacuum_max_threshold=None,
    age=0.1,
    has_statistics=True,
    shows_statistics=True,
)
INDEX = Index(
    oid=10,
    table_oid=1,
    table_name="public.t",
    name="public.t_a",
    method="btree",
    root=10,
    is_attached=False,
    is_partitioned=False,
    bytes=20 * MB,
    pages=2_560,
    rows=1_000_000,
    fillfactor=90,
    scans=0,
    keys=["1 int4_ops"],
    key_columns=[1],
    included=[],
    predicate=None,
    is_unique=False,
    nulls_distinct=True,
    is_immediate=True,
    is_primary=False,
    unique_constraint=None,
    is_exclusion=False,
    is_referenced=False,
    is_identity=False,
    serves_foreign_key=False,
    is_valid=True,
    made_at=None,
)
NUMBER = Number(
    name="public.s",
    is_visible=True,
    last=None,
    increment=1,
    minimum=1,
    maximum=2**63 - 1,
    cycles=False,
    column_name="public.t.id",
    column_type="bigint",
    column_most=2**63 - 1,
    inserted=0,
)
INT = Column(relation=1, length=4, alignment=4, width=4, nulls=0.0)


def readings(
    circumstances: Circumstances = SERVER,
    *,
    tables: Sequence[Table] = (),
    parents: Sequence[Parent] = (),
    indexes: Sequence[Index] = (),
    numbers: Sequence[Number] = (),
    holders: Sequence[Holder] = (),
    vacuums: Sequence[Vacuum] = (),
    columns: dict[int, Sequence[Column]] | None = None,
    measured: dict[int, Measured] | None = None,
) -> Readings:
    return Readings(circumstances, tables, parents, indexes, numbers, holders, vacuums, columns or {}, measured or {})


def duplicates(looked: Readings) -> Outcome:
    return duplicate(looked, LIMITS)


def only(outcome: Outcome) -> Finding:
    (found,) = outcome.findings
    return found


def test_each_kind_is_a_check_of_dagsters_and_the_other_way_round() -> None:
    assert list(_CHECKS) == [each.value for each in Kind]
    assert [each.kind for each in judge(readings(), LIMITS).outcomes] == list(Kind)


def test_an_empty_database_is_well() -> None:
    found = judge(readings(), LIMITS)
    assert {each.verdict for each in found.outcomes} == {Verdict.OK}
    assert all(each.said for each in found.outcomes)


def test_what_will_be_trouble_is_said_before_what_nobody_knows() -> None:
    found = [unknown("u", "Nobody knows.", "look", weight=9), *(warning(n, "Bad.", "mend", weight=w) for n, w in
             (("a", 1), ("b", 3), ("c", 2)))]  # fmt: skip
    outcome = Outcome.of(Kind.NO_BLOAT, 5, found)
    assert [each.what for each in outcome.findings] == ["b", "c", "a", "u"]
    assert outcome.verdict is Verdict.WARNING
    assert Outcome.of(Kind.NO_BLOAT, 1, found[:1]).verdict is Verdict.UNKNOWN
    assert outcome.figures == {"looked_at": 5, "warnings": 3, "unknown": 1, "bytes": 0}


def test_settings_set_the_thresholds() -> None:
    settings = Settings(
        tables_most_bloat=0.3, tables_most_of_sequence=0.9, tables_most_hold_seconds=60, tables_unused_days=7
    )
    assert Thresholds.of(settings) == replace(
        LIMITS,
        most_bloat=0.3,
        most_of_sequence=0.9,
        hold=timedelta(minutes=1),
        unused=timedelta(days=7),
    )
    assert Thresholds.of(Settings()) == LIMITS


@pytest.mark.parametrize(
    ("table", "server", "due"),
    [
        ({}, {}, 200_050),
        ({"reltuples": -1}, {}, 50),
        ({"vacuum_scale_factor": 0.0, "vacuum_threshold": 1000}, {}, 1000),
        ({"vacuum_scale_factor": 0.01}, {}, 10_050),
        ({}, {"vacuum_max_threshold": 100_000}, 100_000),
        ({}, {"vacuum_max_threshold": -1}, 200_050),
        ({"vacuum_max_threshold": 500}, {"vacuum_max_threshold": 100_000}, 500),
        ({"vacuum_max_threshold": -1}, {"vacuum_max_threshold": 100_000}, 200_050),
        ({"vacuum_max_threshold": 500}, {"vacuum_max_threshold": None}, 200_050),
    ],
)
def test_when_autovacuum_comes(table: dict[str, float], server: dict[str, int], due: float) -> None:
    assert dead_rows_due(replace(TABLE, **table), replace(SERVER, **server)) == due  # type: ignore[arg-type]


def test_dead_rows_count_beside_what_autovacuum_waits_for() -> None:
    below, above = replace(TABLE, dead_rows=400_099), replace(TABLE, dead_rows=400_100)
    few = replace(TABLE, reltuples=0, live_rows=0, dead_rows=9_999)
    assert dead_rows(readings(tables=[below, few]), LIMITS).verdict is Verdict.OK
    found = only(dead_rows(readings(tables=[above]), LIMITS))
    assert "400,100 dead rows beside 1,000,000 living ones; autovacuum comes at 200,050." in found.said
    assert only(dead_rows(readings(replace(SERVER, counts=False), tables=[TABLE]), LIMITS)).verdict is Verdict.UNKNOWN


DUE = replace(TABLE, dead_rows=300_000)


@pytest.mark.parametrize(
    ("table", "server", "verdict", "said"),
    [
        ({}, {}, Verdict.OK, ""),
        ({"vacuumed_at": NOW - timedelta(hours=25)}, {}, Verdict.WARNING, "canceling autovacuum task"),
        ({"vacuumed_at": NOW - timedelta(hours=25)}, {"workers": 3}, Verdict.WARNING, "all 3 workers are busy"),
        ({"vacuumed_at": NOW - timedelta(hours=25), "dead_rows": 200_050}, {}, Verdict.OK, ""),
        ({"vacuumed_at": None}, {}, Verdict.WARNING, "No vacuum of it is known."),
        ({"vacuumed_at": None}, {"counted_since": NOW - timedelta(hours=2)}, Verdict.UNKNOWN, "counters began only"),
        ({"vacuumed_at": None}, {"counted_since": None}, Verdict.WARNING, "No vacuum of it is known."),
        ({"autovacuum": False}, {}, Verdict.WARNING, "by its option autovacuum_enabled"),
        ({"age": 1.25}, {}, Verdict.WARNING, "1.25 times as old"),
        ({}, {"autovacuum": False}, Verdict.WARNING, "autovacuum is off"),
        ({}, {"counts": False}, Verdict.WARNING, "track_counts is off"),
        ({}, {"sees_all": False}, Verdict.UNKNOWN, "hidden from this role"),
    ],
)
def test_whether_autovacuum_gets_through(
    table: dict[str, object], server: dict[str, object], verdict: Verdict, said: str
) -> None:
    looked = readings(replace(SERVER, **server), tables=[replace(DUE, **table)])  # type: ignore[arg-type]
    outcome = autovacuum(looked, LIMITS)
    assert outcome.verdict is verdict
    if said:
        assert said in only(outcome).sentence


def test_a_table_at_which_a_vacuum_is_at_work_is_not_overdue() -> None:
    overdue = replace(DUE, vacuumed_at=NOW - timedelta(days=3))
    at_work = Vacuum(77, TABLE.oid, "scanning heap", NOW - timedelta(hours=5), True, 1000, 200)
    assert autovacuum(readings(tables=[overdue], vacuums=[at_work]), LIMITS).verdict is Verdict.OK
    endless = replace(at_work, since=NOW - timedelta(hours=7))
    found = only(autovacuum(readings(tables=[overdue], vacuums=[endless]), LIMITS))
    assert "Process 77 vacuums public.t since 2026-02-28 22:40 UTC (scanning heap, 200 of 1,000 blocks" in found.said


@pytest.mark.parametrize(
    ("holder", "said", "do"),
    [
        (
            Holder("session", "4711 of app (web) idle in transaction", NOW - timedelta(hours=2), 10, False),
            "The session 4711 of app (web) idle in transaction keeps vacuums since 2026-03-01 03:40 UTC",
            "pg_terminate_backend(4711)",
        ),
        (Holder("slot", "old", None, 2_000_000, False), "slot old keeps", "pg_drop_replication_slot('old')"),
        (Holder("slot", "cdc", None, 2_000_000, True), "rows of the system's tables that died", "start its consumer"),
        (Holder("standby", "replica", None, 2_000_000, False), "newest 2,000,000 transactions", "hot_standby_feedback"),
        (
            Holder("prepared transaction", "gid of app", NOW - timedelta(hours=2), 5, False),
            "300,000 dead rows of 1 table are due",
            "ROLLBACK PREPARED",
        ),
    ],
)
def test_who_holds_vacuums_back_is_named(holder: Holder, said: str, do: str) -> None:
    found = only(autovacuum(readings(tables=[DUE], holders=[holder]), LIMITS))
    assert said in found.said
    assert do in found.do


@pytest.mark.parametrize("since", [NOW - timedelta(minutes=59), None])
def test_a_young_transaction_holds_nothing_back_that_matters(since: datetime | None) -> None:
    holder = Holder("session", "1 of app active", since, 999_999, False)
    assert autovacuum(readings(tables=[DUE], holders=[holder]), LIMITS).verdict is Verdict.OK


def test_estimates_are_those_of_a_page_filled_by_hand() -> None:
    # Four bytes are padded to eight; with its header and its pointer a row takes 36, and an index entry 20.
    assert heap_bytes(226 * 10, [INT], 100, 8192) == 10 * 8192
    assert heap_bytes(226 * 10 + 1, [INT], 100, 8192) == 11 * 8192
    assert heap_bytes(113 * 10, [INT], 50, 8192) == 10 * 8192
    entries = btree_bytes(366 * 100, [INT], 90, 8192)
    assert entries is not None
    assert 101 * 8192 <= entries < 102 * 8192
    # A bigint behind an integer begins at the next eighth byte.
    long = replace(INT, length=8, alignment=8, width=8)
    assert heap_bytes(1e6, [INT, long], 100, 8192) == heap_bytes(1e6, [long, long], 100, 8192)
    assert heap_bytes(10, [INT, replace(INT, width=None)], 100, 8192) is None


def test_rows_wider_than_a_page_are_not_divided_by_zero() -> None:
    assert heap_bytes(10, [replace(INT, length=-1, width=9000)], 100, 8192) == 10 * 8192


def test_counters_that_miss_rows_are_not_believed() -> None:
    untold = replace(TABLE, live_rows=0)
    assert untold.rows == TABLE.reltuples
    assert replace(untold, dead_rows=1_000_000).rows == 0
    assert replace(TABLE, live_rows=5, vacuumed_at=None, analyzed_at=None).rows == TABLE.reltuples
    assert replace(TABLE, reltuples=-1, vacuumed_at=None, analyzed_at=None).rows is None


def test_bloat_is_measured_where_it_may_be_and_estimated_else() -> None:
    full = readings(tables=[TABLE], columns={1: [INT] * 20})
    assert bloat(full, LIMITS).verdict is Verdict.OK
    gone = readings(tables=[replace(TABLE, live_rows=1000, reltuples=1000)], columns={1: [INT] * 20})
    assert "(100%, estimated) are dead or free" in only(bloat(gone, LIMITS)).said
    measured = replace(gone, measured={1: Measured(100 * MB, 10 * MB, 10 * MB)})
    assert wasted_bytes(measured.tables[0], measured) == 20 * MB
    assert bloat(measured, LIMITS).verdict is Verdict.OK
    loose = replace(measured, tables=[replace(TABLE, fillfactor=90)])
    assert wasted_bytes(loose.tables[0], loose) == 10 * MB


@pytest.mark.parametrize(
    ("table", "said", "do"),
    [
        ({"bytes": None}, "somebody had it to themselves", "look again"),
        ({"is_toast": True}, "TOAST of public.t", "pg_stat_scan_tables"),
        ({"is_heap": False}, "in a way of its own", "ask"),
        ({}, "never analyzed", "ANALYZE public.t"),
        ({"shows_statistics": False}, "does not see the statistics", "GRANT SELECT ON public.t"),
    ],
)
def test_bloat_that_nobody_can_tell_is_unknown(table: dict[str, bool], said: str, do: str) -> None:
    looked = readings(tables=[replace(TABLE, **table)])  # type: ignore[arg-type]
    found = only(bloat(looked, LIMITS))
    assert (found.verdict, said in found.said, do in found.do) == (Verdict.UNKNOWN, True, True)
    small = readings(tables=[replace(TABLE, **{"bytes": MB, "pages": 128} | table)])  # type: ignore[arg-type]
    assert bloat(small, LIMITS).verdict is Verdict.OK, "it has not as much as would have to be lost"


def test_an_index_is_judged_by_the_rows_of_its_table_or_by_its_own_if_it_has_not_all() -> None:
    grown = replace(INDEX, bytes=200 * MB)
    looked = readings(tables=[replace(TABLE, bytes=MB)], indexes=[grown], columns={10: [INT]})
    assert "REINDEX INDEX CONCURRENTLY public.t_a" in only(bloat(looked, LIMITS)).do
    partial = replace(grown, predicate="(a > 0)", rows=9_000_000)
    assert bloat(replace(looked, indexes=[partial]), LIMITS).verdict is Verdict.OK
    expression = replace(grown, keys=["lower(a)"], key_columns=[])
    found = only(bloat(replace(looked, indexes=[expression], columns={}), LIMITS))
    assert (found.verdict, "shown to its owner only" in found.said) == (Verdict.UNKNOWN, True)


@pytest.mark.parametrize(
    ("number", "share"),
    [
        ({}, 0.0),
        ({"last": 2**62}, 0.5),
        ({"last": 2_000_000_000, "column_most": 2**31 - 1}, 0.931),
        ({"last": 2_000_000_000, "maximum": 2**31 - 1}, 0.931),
        ({"last": 2_000_000_000, "column_most": None}, 0.0),
        ({"last": 9, "maximum": 10, "cycles": True}, None),
        ({"last": 30_000, "column_most": 32_767, "cycles": True}, 0.9155),
        ({"last": -90, "increment": -1, "minimum": -100, "maximum": -1}, 0.899),
        ({"last": -(2**30), "increment": -1, "minimum": -(2**63), "maximum": -1, "column_most": 2**31 - 1}, 0.5),
        ({"last": 1, "minimum": 1, "maximum": 1}, 1.0),
        ({"is_visible": False}, None),
    ],
)
def test_how_much_of_a_sequence_is_used(number: dict[str, int], share: float | None) -> None:
    found = used(replace(NUMBER, **number))  # type: ignore[arg-type]
    assert found == (share if share is None else pytest.approx(share, abs=1e-3))


def test_how_long_a_sequence_lasts_is_said_only_where_there_is_a_pace() -> None:
    near = replace(NUMBER, last=2**31 - 1 - 60_000, column_type="integer", column_most=2**31 - 1, inserted=60_000)
    assert left_for(near, SERVER) == timedelta(days=60)
    assert left_for(replace(near, increment=2), SERVER) == timedelta(days=30)
    assert left_for(replace(near, inserted=0), SERVER) is None
    assert left_for(near, replace(SERVER, counted_since=NOW - timedelta(days=29))) is None
    assert left_for(replace(near, column_most=2**63 - 1, inserted=1), SERVER) is None, "longer than a date can say"
    found = only(sequences(readings(numbers=[near]), LIMITS))
    assert "at the pace of rows inserted since 2025-12-31, they last 2.0 months at most" in found.said
    assert "make public.t.id a bigint" in found.do


def test_sequences_that_are_hidden_are_unknown() -> None:
    found = only(sequences(readings(numbers=[replace(NUMBER, is_visible=False), NUMBER]), LIMITS))
    assert found.verdict is Verdict.UNKNOWN
    assert "public.s" in found.said


AB = replace(INDEX, oid=11, root=11, name="public.t_ab", keys=["1 int4_ops", "2 int4_ops"], key_columns=[1, 2])
UNIQUE = {"is_unique": True}


@pytest.mark.parametrize(
    ("other", "index", "does"),
    [
        ({}, {}, True),
        (UNIQUE, {}, True),
        ({}, UNIQUE, False),
        (UNIQUE, UNIQUE, True),
        (UNIQUE | {"nulls_distinct": False}, UNIQUE, False),
        (UNIQUE | {"is_immediate": False}, UNIQUE, False),
        ({"keys": ["1 int4_ops", "2 int4_ops"]}, {}, True),
        ({"keys": ["1 int4_ops", "2 int4_ops"], "is_unique": True}, UNIQUE, False),
        ({"keys": ["2 int4_ops", "1 int4_ops"]}, {}, False),
        ({}, {"keys": ["1 int4_ops", "2 int4_ops"]}, False),
        ({"keys": ["1 text_pattern_ops"]}, {}, False),
        ({"predicate": "(a > 0)"}, {}, False),
        ({}, {"predicate": "(a > 0)"}, False),
        ({"predicate": "(a > 0)"}, {"predicate": "(a > 0)"}, True),
        ({}, {"included": [3]}, False),
        ({"included": [3, 4]}, {"included": [3]}, True),
        ({"keys": ["1 int4_ops", "3 int4_ops"], "key_columns": [1, 3]}, {"included": [3]}, True),
        ({"method": "hash"}, {}, False),
        ({"method": "gin", "keys": ["1 x", "2 x"]}, {"method": "gin", "keys": ["1 x"]}, False),
        ({"method": "gin", "keys": ["1 x"]}, {"method": "gin", "keys": ["1 x"]}, True),
        ({"is_valid": False}, {}, False),
    ],
)
def test_whether_an_index_replaces_another(other: dict[str, object], index: dict[str, object], does: bool) -> None:
    assert replaces(replace(INDEX, oid=12, **other), replace(INDEX, **index)) is does  # type: ignore[arg-type]


def test_of_two_alike_the_one_that_is_used_and_that_something_rests_on_stays() -> None:
    twin = replace(INDEX, oid=12, root=12, name="public.twin", scans=5)
    assert only(duplicates(readings(indexes=[INDEX, twin]))).what == "public.t_a"
    primary = replace(INDEX, oid=13, root=13, name="public.t_pkey", is_unique=True, is_primary=True)
    constraint = replace(twin, is_unique=True, unique_constraint="twin", name="public.twin")
    found = only(duplicates(readings(indexes=[constraint, primary])))
    assert found.do == "ALTER TABLE public.t DROP CONSTRAINT twin"
    assert duplicates(readings(indexes=[replace(constraint, is_referenced=True), primary])).findings == ()
    assert only(duplicates(readings(indexes=[AB, INDEX]))).do == "DROP INDEX CONCURRENTLY public.t_a"
    elsewhere = replace(AB, table_oid=2)
    assert duplicates(readings(indexes=[elsewhere, INDEX])).findings == ()


def test_an_idle_index_is_no_reason_to_drop_one_that_is_used() -> None:
    used = replace(INDEX, scans=5, made_at=NOW - timedelta(days=90))
    wider = replace(used, oid=12, root=12, name="public.t_a_with_b", included=[2], scans=0)
    for made in (wider.made_at, None):
        looked = readings(indexes=[used, replace(wider, made_at=made)])
        assert only(unused(looked, LIMITS)).do.endswith("DROP INDEX CONCURRENTLY public.t_a_with_b")
        assert duplicates(looked).findings == (), "of the two, one has to stay"
    assert only(duplicates(readings(indexes=[used, replace(wider, scans=1)]))).what == "public.t_a"
    assert only(duplicates(readings(indexes=[replace(used, scans=0), wider]))).what == "public.t_a"
    assert only(duplicates(readings(indexes=[used, replace(wider, bytes=8192)]))).what == "public.t_a"


def test_of_two_alike_on_a_partitioned_table_the_idle_one_is_superfluous() -> None:
    first = replace(INDEX, name="public.p_a", is_partitioned=True, bytes=0)
    second = replace(first, oid=14, root=14, name="public.p_a2")
    part = replace(INDEX, oid=20, table_oid=2, root=10, is_attached=True, name="public.p1_a")
    busy = replace(part, oid=22, root=14, name="public.p1_a2", scans=7)
    looked = readings(indexes=[first, part, second, busy])
    assert only(duplicates(looked)).what == only(unused(looked, LIMITS)).what == "public.p_a"


def test_an_index_of_partitions_is_one_with_theirs() -> None:
    whole = replace(INDEX, name="public.p_a", is_partitioned=True, bytes=0, pages=0)
    part = replace(INDEX, oid=20, table_oid=2, root=10, is_attached=True, name="public.p1_a")
    twin = replace(whole, oid=14, root=14, name="public.p_a2")
    parts = [part, replace(part, oid=21, table_oid=3, scans=1)]
    assert unused(readings(indexes=[whole, *parts]), LIMITS).findings == (), "that of one partition was used"
    idle = only(unused(readings(indexes=[whole, part]), LIMITS))
    assert (idle.what, idle.bytes) == ("public.p_a", 20 * MB)
    assert idle.do.endswith("DROP INDEX public.p_a")
    both = readings(indexes=[whole, part, twin, replace(part, oid=22, root=14, name="public.p1_a2")])
    found = only(duplicates(both))
    assert (found.what, found.bytes) == ("public.p_a2", 20 * MB), "those of partitions go with it, and are not said"


@pytest.mark.parametrize(
    "changed",
    [
        {"scans": 1},
        {"is_unique": True},
        {"is_primary": True},
        {"is_exclusion": True},
        {"is_identity": True},
        {"is_referenced": True},
        {"serves_foreign_key": True},
        {"is_valid": False},
        {"bytes": 8192},
    ],
)
def test_an_index_that_is_used_or_needed_or_small_is_none_to_drop(changed: dict[str, bool]) -> None:
    old = replace(INDEX, made_at=NOW - timedelta(days=90))
    assert only(unused(readings(indexes=[old]), LIMITS)).verdict is Verdict.WARNING
    assert unused(readings(indexes=[replace(old, **changed)]), LIMITS).findings == ()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("counted", "made"),
    [(NOW - timedelta(days=29), None), (None, None), (NOW - timedelta(days=99), NOW - timedelta(days=1))],
)
def test_whether_a_young_index_is_used_nobody_knows(counted: datetime | None, made: datetime | None) -> None:
    looked = readings(replace(SERVER, counted_since=counted), indexes=[replace(INDEX, made_at=made)])
    assert only(unused(looked, LIMITS)).verdict is Verdict.UNKNOWN


def test_that_the_age_of_an_idle_index_is_not_known_is_said_before_anything_is_advised() -> None:
    counted = NOW - timedelta(days=60)
    known = only(unused(readings(indexes=[replace(INDEX, made_at=NOW - timedelta(days=45))]), LIMITS))
    assert (known.verdict, known.bytes) == (Verdict.WARNING, 20 * MB)
    assert known.said.endswith(f"since {NOW - timedelta(days=45):%Y-%m-%d %H:%M} UTC.")
    hidden = only(unused(readings(indexes=[INDEX]), LIMITS))
    assert (hidden.verdict, hidden.bytes) == (Verdict.UNKNOWN, 20 * MB)
    assert f"since {counted:%Y-%m-%d %H:%M} UTC, or since it was made if that was later, which" in hidden.said
    assert hidden.do.startswith("find out first how old it is")
    assert "if it is older than 30 days" in hidden.do


NEVER = replace(TABLE, analyzed_at=None, has_statistics=False, reltuples=-1.0, live_rows=5_000)


@pytest.mark.parametrize(
    ("table", "verdict"),
    [
        ({}, Verdict.WARNING),
        ({"live_rows": 999}, Verdict.OK),
        ({"live_rows": 0}, Verdict.WARNING),
        ({"live_rows": 0, "bytes": MB}, Verdict.OK),
        ({"analyzed_at": NOW}, Verdict.OK),
        ({"has_statistics": True}, Verdict.OK),
        ({"shows_statistics": False}, Verdict.WARNING),
        ({"shows_statistics": False, "reltuples": 5_000.0}, Verdict.UNKNOWN),
        ({"is_toast": True}, Verdict.OK),
    ],
)
def test_a_table_that_was_never_analyzed(table: dict[str, object], verdict: Verdict) -> None:
    looked = readings(tables=[replace(NEVER, **table)])  # type: ignore[arg-type]
    assert judge(looked, LIMITS).outcomes[-1].verdict is verdict


def test_a_partitioned_table_that_was_never_analyzed() -> None:
    parents = [Parent("public.p", False, 1_000), Parent("public.q", True, 10**9), Parent("public.r", False, 999)]
    found = only(judge(readings(parents=parents), LIMITS).outcomes[-1])
    assert (found.what, found.do.startswith("ANALYZE public.p,")) == ("public.p", True)
