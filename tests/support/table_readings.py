"""What statistics may say of a server, a table, an index and a sequence that are well, to be changed by a test."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from ops_workflows.tables.findings import Finding, Outcome
from ops_workflows.tables.indexes import duplicate
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
from ops_workflows.tables.thresholds import Thresholds

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
