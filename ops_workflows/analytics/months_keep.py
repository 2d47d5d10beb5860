"""The months of the query log kept: made ahead of time, and dropped when they are old, proved and, if wanted, exported.

The statistics of a month that goes are made anew from its rows. Then it is detached, so that nobody can write to it any
more, and only if it has just those rows, untouched since, it is exported and dropped; otherwise, and after any failure,
it is attached again. A run that was killed leaves a line in ops.query_log_months, and the next one puts the month back
before it does anything else.

PostgreSQL detaches concurrently only where there is no default partition
(https://www.postgresql.org/docs/current/sql-altertable.html#SQL-ALTERTABLE-DETACH-PARTITION). The application has one,
so that no query is ever refused for want of a month. There, detaching takes the strongest lock for a millisecond, and
whoever holds another is waited for in such small portions that nobody waits behind us for longer than one of them.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import errors, sql

from ops_workflows.analytics.export import export
from ops_workflows.analytics.horizon import expect_tables
from ops_workflows.analytics.months import LogMonths, Month, read_months
from ops_workflows.analytics.months_evidence import gather, untouched
from ops_workflows.analytics.months_plan import (
    Decision,
    Evidence,
    MonthsPlan,
    decide,
    missing,
    past_limit,
)
from ops_workflows.analytics.rollup import make_again
from ops_workflows.errors import DatabaseError, RefusedError
from ops_workflows.postgres.advisory import alone
from ops_workflows.postgres.connection import Connection, connect
from ops_workflows.postgres.inventory import Snapshot
from ops_workflows.progress import SILENT, Progress
from ops_workflows.repository.catalogue import Repository, open_repository
from ops_workflows.repository.proved import newest_proved
from ops_workflows.settings import Settings

_KEY = 0x6F70735F6D6F6E74  # “ops_mont”
_PATIENCE_SECONDS = 15  # for another run, and for each lock
_LOCK = "set local lock_timeout = '100ms'"
_LONGEST_SECONDS = 3600
_REST_SECONDS = (0.1, 0.5)  # between two attempts at a lock; by chance, so as not to keep step with anybody
_ANALYZES_ONLY = 180_000  # the version since which its partitions can be left out
_PARENT = sql.Identifier("public", "query_log")
_COLUMNS = """
    select attname from pg_attribute
    where attrelid = 'public.query_log'::regclass and attnum > 0 and not attisdropped and attgenerated = ''
    order by attnum"""
_BEGIN = """
    insert into ops.query_log_months (month, relation, name, rows, bytes, backup_id) values (%s, %s, %s, %s, %s, %s)
    on conflict (month, relation) do update
    set rows = excluded.rows, bytes = excluded.bytes, backup_id = excluded.backup_id, begun_at = clock_timestamp()"""
_FORGET = "delete from ops.query_log_months where month = %s and relation = %s and dropped_at is null"
_DONE = (
    "update ops.query_log_months set dropped_at = clock_timestamp(), exported = %s where month = %s and relation = %s"
)


@dataclass(frozen=True, slots=True)
class Dropped:
    """A month that is gone.

    Attributes:
        month: Which.
        rows: That it had.
        bytes: That it freed.
        exported: Id of its export in the bucket; None without one.
    """

    month: Month
    rows: int
    bytes: int
    exported: str | None


@dataclass(frozen=True, slots=True)
class Kept:
    """What was done.

    Attributes:
        made: Months that got a partition.
        plan: By which the rest was done.
        dropped: What went.
    """

    made: list[Month]
    plan: MonthsPlan
    dropped: list[Dropped]


def plan_months(settings: Settings, *, most: int = 12) -> MonthsPlan:
    """Look what there is to do; nothing is changed.

    Args:
        settings: The database, the bucket, and how long to keep.
        most: How many months may go at once.

    Raises:
        RefusedError: The log is not partitioned by month, or the schema is not there.
        DatabaseError: PostgreSQL is unreachable or refuses us.
        StorageError: Months are old enough to go, and the bucket does not say whether it holds them.
    """
    with _connected(settings) as connection:
        return _plan(settings, connection, read_months(connection), most)


def keep_months(
    settings: Settings,
    progress: Progress = SILENT,
    show: Callable[[MonthsPlan], None] = lambda _plan: None,
    *,
    parquet: bool = False,
    most: int = 12,
) -> Kept:
    """Make what is missing, and drop what may go.

    Args:
        settings: The database, the bucket, and how long to keep.
        progress: Hears how far it is.
        show: Is given the plan before anything is dropped.
        parquet: Export each month to the bucket before it goes.
        most: How many months may go at once.

    Raises:
        RefusedError: The log is not partitioned by month, another run is at work, or a lock was not to be had.
        DatabaseError: PostgreSQL is unreachable or refuses us.
        StorageError: The bucket does not answer, or did not take an export: months that are not dropped by then stay.
    """
    with _connected(settings) as connection, alone(connection, _KEY, "keeping of the log's months", _PATIENCE_SECONDS):
        _put_back(connection, progress)
        made = missing(read_months(connection), settings.query_log_months_ahead)
        for month in made:
            _make(connection, month)
            progress.say(f"{month.partition} was made.")
        plan = _plan(settings, connection, read_months(connection), most)
        show(plan)
        dropped = [done for each in plan.to_drop if (done := _drop(settings, connection, each, progress, parquet))]
        # Autovacuum never analyzes a partitioned table, only its partitions; the planner asks both.
        only = "only" if connection.info.server_version >= _ANALYZES_ONLY else ""
        connection.execute(sql.SQL("analyze {} {}").format(sql.SQL(only), _PARENT))
    return Kept(made, plan, dropped)


@contextmanager
def _connected(settings: Settings) -> Iterator[Connection]:
    with connect(
        settings.require("owner_dsn"),
        timeout=settings.connect_timeout_seconds,
        statement_seconds=_LONGEST_SECONDS,
        application_name="ops query-log",
    ) as connection:
        expect_tables(connection)
        yield connection


def _plan(settings: Settings, connection: Connection, log: LogMonths, most: int) -> MonthsPlan:
    keep = settings.query_log_keep_months
    old = past_limit(log, keep)
    found: dict[Month, Evidence] = {}
    if old:
        repository = _repository(settings, connection)
        found = gather(connection, repository, newest_proved(repository, settings.proof_days), old)
    return decide(log, ahead=settings.query_log_months_ahead, keep_months=keep, evidence=found, most=most)


def _repository(settings: Settings, connection: Connection) -> Repository:
    row = connection.execute("select system_identifier::text from pg_control_system()").fetchone()
    if row is None:
        raise DatabaseError("PostgreSQL does not say its system identifier.")
    return open_repository(settings, str(row[0]))


def _drop(
    settings: Settings, connection: Connection, todo: Decision, progress: Progress, parquet: bool
) -> Dropped | None:
    """Drop a month; None, where it was written to since the plan was made, and so stays."""
    part = todo.partition
    before = Snapshot.take(connection)
    rows = make_again(connection, part.month.start, part.month.end)
    row = (part.month.start, part.relation, part.name, rows, part.bytes, todo.backup_id)
    connection.execute(_BEGIN, row)
    try:
        _detach(connection, part.name)
        there = _count(connection, part.name)
        if not rows == todo.rows == there == untouched(connection, part.name, before.oldest):
            progress.say(f"{part.name} was written to meanwhile ({there:,} rows by now): it stays until the next time.")
            return None
        exported = export(_repository(settings, connection), connection, part, rows, progress) if parquet else None
        gone = (exported, part.month.start, part.relation)

        def drop() -> None:
            connection.execute(sql.SQL("drop table {}").format(sql.Identifier("public", part.name)))
            connection.execute(_DONE, gone)

        _patiently(connection, f"drop {part.name}", drop)
        progress.say(f"{part.name} is gone: {rows:,} rows, {part.bytes:,} bytes.")
        return Dropped(part.month, rows, part.bytes, exported)
    finally:
        # Also after an error; where the connection is what was lost, the next run does it.
        if not connection.closed:
            _put_back(connection, progress)


def _detach(connection: Connection, name: str) -> None:
    partition = sql.Identifier("public", name)
    if read_months(connection).default is not None:
        detach = sql.SQL("alter table {} detach partition {}").format(_PARENT, partition)
        _patiently(connection, f"detach {name}", lambda: connection.execute(detach))
        return
    with _waiting_for_locks(connection):
        connection.execute(sql.SQL("alter table {} detach partition {} concurrently").format(_PARENT, partition))


def _count(connection: Connection, name: str) -> int:
    row = connection.execute(sql.SQL("select count(*) from {}").format(sql.Identifier("public", name))).fetchone()
    return int(row[0]) if row else 0


def _put_back(connection: Connection, progress: Progress) -> None:
    """End what a run has begun and not ended: every month is a partition again, or gone."""
    for each in read_months(connection).partitions:
        if each.pending:
            finalize = sql.SQL("alter table {} detach partition {} finalize")
            with _waiting_for_locks(connection):
                connection.execute(finalize.format(_PARENT, sql.Identifier("public", each.name)))
    for left in read_months(connection).left_over:
        if left.exists and not left.attached:
            _attach(connection, left.month, left.name)
            progress.say(f"{left.name} is a partition of the log again.")
        elif not left.exists:
            progress.say(f"{left.name} is gone, though its dropping had not come to its end: somebody else dropped it.")
        connection.execute(_FORGET, [left.month.start, left.relation])


def _make(connection: Connection, month: Month) -> None:
    row = connection.execute("select to_regclass(%s)", [f"public.{month.partition}"]).fetchone()
    if row is None or row[0] is not None:
        raise RefusedError(
            f"public.{month.partition} is there and is no partition of the log, so {month} cannot get one: look what "
            "it is, and attach, rename or drop it."
        )
    _attach(connection, month, month.partition, new=True)


def _attach(connection: Connection, month: Month, name: str, *, new: bool = False) -> None:
    """Let a table be a month's partition; rows of the month that have come into the default one move over."""
    log = read_months(connection)
    table = sql.Identifier("public", name)
    bounds = [sql.Literal(month.start.isoformat()), sql.Literal(month.end.isoformat())]
    attach = sql.SQL("alter table {} attach partition {} for values from ({}) to ({})").format(_PARENT, table, *bounds)
    moves = month in log.outside

    def work() -> None:
        if new:
            connection.execute(sql.SQL("create table {} (like {} including all)").format(table, _PARENT))
        if moves and log.default is not None:
            _move(connection, sql.Identifier("public", log.default), table, bounds)
        connection.execute(attach)

    try:
        _patiently(connection, f"attach {name}", work)
    except errors.CheckViolation:  # a row has come into the default partition since that was read
        moves = True
        _patiently(connection, f"attach {name}", work)


def _move(connection: Connection, default: sql.Identifier, table: sql.Identifier, bounds: list[sql.Literal]) -> None:
    # Whoever has planned a statement without the new partition must not run it with a snapshot in which the rows lie
    # there: so everybody waits before he plans.
    connection.execute(sql.SQL("lock table only {} in access exclusive mode").format(_PARENT))
    connection.execute(sql.SQL("lock table {} in share row exclusive mode").format(default))
    columns = sql.SQL(", ").join(sql.Identifier(name) for (name,) in connection.execute(_COLUMNS))
    move = sql.SQL(
        "with moved as (delete from {default} where created_at >= {start} and created_at < {end} returning {columns}) "
        "insert into {table} ({columns}) overriding system value select {columns} from moved"
    )
    connection.execute(move.format(default=default, start=bounds[0], end=bounds[1], columns=columns, table=table))


def _patiently(connection: Connection, what: str, work: Callable[[], object]) -> None:
    """Do it in one transaction, without letting anybody wait behind us for a lock that another one holds."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            with connection.transaction():
                connection.execute(_LOCK)
                work()
        except errors.LockNotAvailable:
            if time.monotonic() > deadline:
                raise RefusedError(
                    f"Cannot {what}: for {_PATIENCE_SECONDS} s others have held locks on the query log. Try again "
                    "when no long transaction is open (pg_stat_activity)."
                ) from None
            time.sleep(random.uniform(*_REST_SECONDS))  # noqa: S311 - no secret depends on it
        else:
            return


@contextmanager
def _waiting_for_locks(connection: Connection) -> Iterator[None]:
    """What waits for others without anybody behind it, and cannot be in a transaction."""
    connection.execute("select set_config('lock_timeout', %s, false)", [f"{_PATIENCE_SECONDS}s"])
    try:
        yield
    except psycopg.errors.LockNotAvailable:
        raise RefusedError(
            f"A month is not detached yet: for {_PATIENCE_SECONDS} s others have held locks on the query log. It may "
            "be unseen until the next run puts it back: do this again when no long transaction is open."
        ) from None
    finally:
        if not connection.closed:
            connection.execute("set lock_timeout = 0")
