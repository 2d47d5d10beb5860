"""Old months of the query log go only when their statistics and a proved backup have them."""

import io
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr

from ops_workflows.analytics import months_keep
from ops_workflows.analytics.checks import look
from ops_workflows.analytics.defs import query_log
from ops_workflows.analytics.months import Month, read_months
from ops_workflows.analytics.months_keep import keep_months, plan_months
from ops_workflows.analytics.months_plan import MonthsPlan, Verdict
from ops_workflows.analytics.period import Grain, Period
from ops_workflows.analytics.rollup import roll_up, roll_up_due
from ops_workflows.backup.mirror import mirror
from ops_workflows.backup.take import take_backup
from ops_workflows.definitions import defs
from ops_workflows.errors import DatabaseError, RefusedError, StorageError
from ops_workflows.postgres.connection import connect
from ops_workflows.proof.ladder import Ladder
from ops_workflows.repository.catalogue import open_repository
from ops_workflows.repository.exports import export_folder, exports
from ops_workflows.repository.rungs import Rung
from ops_workflows.schema.apply import migrate_up
from ops_workflows.settings import Settings
from tests.support.command import as_environment, ops_here
from tests.support.continuous import receiving
from tests.support.heard import Heard
from tests.support.killed_at import killed_at
from tests.support.schema import MIGRATIONS
from tests.support.servers import ScratchServer, scratch_server

THIS = Month.around(datetime.now(UTC))
OLD = [THIS.later(-number) for number in range(21, 9, -1)]
KEEP = 9
EACH = 120  # rows of an old month
WRITE = """
    insert into query_log (query_type, latitude, longitude, date, calculation_system, response_time_ms, created_at)
    select
        case when i %% 7 = 0 then E'a "quoted",\\nlong one' when i %% 5 = 0 then '' else 'tithi' end,
        case when i %% 3 > 0 then 12.34567891 end, -77.5, date '2026-01-31',
        case when i %% 2 = 0 then 'amanta'::calculation_system end, i, %s + i * interval '5 hours 1.000007 s'
    from generate_series(1, %s) as i"""

ODD = """
    insert into query_log (query_type, latitude, date, created_at)
    select repeat('long', 5000), 'NaN', 'infinity', %s::timestamptz + interval '9 days'"""


@dataclass(frozen=True)
class Logged:
    """A server whose query log has old months, all in the statistics and in a proved backup."""

    server: ScratchServer
    settings: Settings
    backup_id: str

    def rows(self, query: str, user: str = "ops_owner") -> list[tuple[Any, ...]]:
        with connect(self.server.dsn(user)) as connection:
            return connection.execute(query.encode()).fetchall()

    def do(self, statement: str, user: str = "ops_owner") -> None:
        with connect(self.server.dsn(user)) as connection:
            connection.execute(statement.encode())

    def log(self) -> dict[Month, int]:
        """Rows of the log by month, in whatever partition."""
        found = self.rows("select date_trunc('month', created_at, 'UTC'), count(*) from query_log group by 1")
        return {Month.around(start): rows for start, rows in found}

    def partitions(self) -> set[str]:
        with connect(self.server.dsn("ops_owner")) as connection:
            return {each.name for each in read_months(connection).partitions}

    def statistics(self) -> list[tuple[Any, ...]]:
        return self.rows("select period, sum(queries) from ops.query_stats_hourly group by 1 order by 1")

    def verdicts(self) -> dict[Month, Verdict]:
        plan = plan_months(self.settings)
        return {each.partition.month: each.verdict for each in plan.decisions if each.verdict is not Verdict.KEEP}


@pytest.fixture(scope="module")
def logged(settings: Settings) -> Iterator[Logged]:
    with scratch_server() as server:
        own = server.settings(
            settings,
            owner_dsn=SecretStr(server.dsn("ops_owner")),
            query_log_keep_months=KEEP,
            system=server.system,
            wal_flush_seconds=0.2,
        )
        migrate_up(server.dsn("ops_owner"), MIGRATIONS)
        with connect(server.dsn("ops_owner")) as connection:
            connection.execute("select create_query_log_months(%s, %s)", [OLD[0].start, THIS.start])
            for month in OLD:
                connection.execute(WRITE, [month.start, EACH])
            connection.execute(ODD, [OLD[11].start])
        roll_up_due(server.dsn("ops_upkeep"))
        with receiving(own, server):
            backup = take_backup(own)
            yield Logged(server, own, backup.id)


def reasons(plan: MonthsPlan, month: Month) -> str:
    return next("; ".join(each.reasons) for each in plan.decisions if each.partition.month == month)


def test_nothing_goes_without_a_limit(logged: Logged) -> None:
    plan = plan_months(logged.settings.model_copy(update={"query_log_keep_months": None}))
    assert {each.verdict for each in plan.decisions} == {Verdict.KEEP}
    assert reasons(plan, OLD[0]) == "every month is kept"


def test_nothing_goes_while_no_backup_counts_as_proved(logged: Logged) -> None:
    plan = keep_months(logged.settings).plan
    assert logged.verdicts() == dict.fromkeys(OLD, Verdict.WAIT)
    assert "no backup counts as proved" in reasons(plan, OLD[0])
    assert reasons(plan, THIS) == "younger than 9 months"


def test_nothing_goes_while_the_bucket_is_away(logged: Logged) -> None:
    away = logged.settings.model_copy(update={"s3_endpoint_url": "http://127.0.0.1:9"})
    with pytest.raises(StorageError):
        keep_months(away)
    assert set(OLD) <= logged.log().keys()


def test_once_it_is_proved_the_plan_names_them_and_changes_nothing(logged: Logged, tmp_path: Path) -> None:
    repository = open_repository(logged.settings)
    for climb in Ladder(logged.settings, repository).climb(repository.find(logged.backup_id), Rung.BOOTED):
        assert climb.passed, climb.finding
    before = logged.log()
    shown = ops_here(logged.settings, tmp_path, "query-log")
    assert shown.code == 0, shown
    assert f"backup {logged.backup_id} holds all of its rows" in " ".join(shown.out.split())
    assert "ops query-log --apply" in shown.out
    assert logged.verdicts() == dict.fromkeys(OLD, Verdict.DROP)
    assert logged.log() == before


def test_a_late_row_keeps_its_month(logged: Logged) -> None:
    """First because the statistics lack it, and then because the backup does."""
    late = OLD[0].start.isoformat()
    logged.do(f"insert into query_log (query_type, created_at) values ('late', '{late}')", "ops_upkeep")
    said = reasons(plan_months(logged.settings), OLD[0])
    assert "not in the statistics as the log has them" in said
    assert f"{EACH} of its {EACH + 1} rows are as they are now in the newest proved backup, {logged.backup_id}" in said
    roll_up_due(logged.server.dsn("ops_upkeep"))
    said = reasons(plan_months(logged.settings), OLD[0])
    assert "statistics" not in said
    assert f"{EACH} of its {EACH + 1} rows are as they are now" in said
    assert OLD[0] not in {each.month for each in keep_months(logged.settings, most=1).dropped}
    assert logged.log()[OLD[0]] == EACH + 1
    assert OLD[1] not in logged.log(), "the next one went instead"


def test_what_goes_is_exported_first_row_by_row_and_mirrored(logged: Logged, tmp_path: Path) -> None:
    month = OLD[2]
    columns = "id::text, query_type, latitude, longitude, date, calculation_system::text, cache_hit, created_at"
    of_month = f"from query_log where created_at >= '{month.start}' and created_at < '{month.end}'"
    expected = logged.rows(f"select {columns} {of_month} order by created_at")
    others = {each: rows for each, rows in logged.log().items() if each != month}
    statistics = logged.statistics()
    (gone,) = keep_months(logged.settings, parquet=True, most=1).dropped
    assert (gone.month, gone.rows) == (month, EACH)
    assert gone.bytes > 0
    assert logged.log() == others
    assert logged.statistics() == statistics
    repository = open_repository(logged.settings)
    (export,) = exports(repository)
    assert (export.id, export.rows, export.table, export.start) == (gone.exported, EACH, month.partition, month.start)
    (stored,) = export.objects
    assert stored.name == f"{month.partition}.parquet.age", "encrypted as the backups of this stack are"
    sealed = repository.store.get(f"{export_folder(repository, export.database)}{export.id}/{stored.name}")
    table = pq.read_table(io.BytesIO(repository.keys.open(sealed, stored.name)))
    names = [part.split("::")[0].strip() for part in columns.split(",")]
    read = sorted((tuple(row[name] for name in names) for row in table.to_pylist()), key=lambda row: row[-1])
    assert read == expected
    (mirrored,) = mirror(logged.settings.model_copy(update={"mirror_url": tmp_path.as_uri()}))
    assert mirrored.copied["exports"] == 1
    (copied,) = tmp_path.rglob(stored.name)
    assert copied.read_bytes() == sealed
    told = (
        "select name, rows, backup_id, exported, dropped_at is null from ops.query_log_months order by 1 desc limit 1"
    )
    assert logged.rows(told, "ops_upkeep") == [(month.partition, EACH, logged.backup_id, export.id, False)]


def test_a_row_that_comes_between_plan_and_drop_keeps_its_month(logged: Logged) -> None:
    month, heard = OLD[3], Heard()

    def write(_plan: MonthsPlan) -> None:
        row = f"insert into query_log (query_type, created_at) values ('late', '{month.start}') returning id"
        logged.do(row, "ops_upkeep")

    assert keep_months(logged.settings, heard, write, most=1).dropped == []
    assert any(f"written to meanwhile ({EACH + 1} rows by now): it stays" in each for each in heard.sentences)
    assert logged.log()[month] == EACH + 1
    assert month.partition in logged.partitions()
    assert logged.rows("select * from ops.query_log_months where dropped_at is null") == []


@pytest.mark.parametrize("words", ["export", "query_log_"])
def test_a_run_that_is_killed_is_made_up_for(logged: Logged, tmp_path: Path, words: str) -> None:
    """In the middle, the month stands beside the log; at the end, it is gone, and nobody has said so yet."""
    before = logged.log()
    killed_at(logged.settings, words, "query-log", "--apply", "--export", "--most", "1")
    if words == "export":
        assert OLD[4] not in logged.log()
        shown = ops_here(logged.settings, tmp_path, "query-log")
        assert f"{OLD[4].partition} stands beside the log, and will be put back first" in " ".join(shown.out.split())
    done = ops_here(logged.settings, tmp_path, "query-log", "--apply", "--export", "--most", "1", "--json")
    assert done.code == 0, done
    (gone,) = json.loads(done.out)["applied"]["dropped"]
    month = OLD[4] if words == "export" else OLD[6]
    assert gone["month"] == str(month)
    assert logged.log() == {each: rows for each, rows in before.items() if each not in OLD[4 : OLD.index(month) + 1]}
    repository = open_repository(logged.settings)
    assert not list(repository.store.pending_uploads(repository.layout.exports))
    assert gone["exported"] == exports(repository)[-1].id


def test_an_export_that_fails_leaves_everything(logged: Logged) -> None:
    before = logged.log()

    def lose_bucket(_plan: MonthsPlan) -> None:
        lost.append(True)

    lost: list[bool] = []
    original = months_keep.open_repository

    def opened(settings: Settings, system: str | None = None) -> Any:
        away = {"s3_endpoint_url": "http://127.0.0.1:9"} if lost else {}
        return original(settings.model_copy(update=away), system)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(months_keep, "open_repository", opened)
        with pytest.raises(StorageError):
            keep_months(logged.settings, show=lose_bucket, parquet=True, most=1)
    assert logged.log() == before
    assert OLD[7].partition in logged.partitions()


def test_nobody_waits_behind_it(logged: Logged) -> None:
    """A long reader holds it up; whoever writes meanwhile is held up for the tenth of a second that it asks."""
    before, took = logged.log(), list[float]()
    stop = threading.Event()

    def write() -> None:
        with connect(logged.server.dsn("ops_upkeep")) as connection:
            while not stop.is_set():
                began = datetime.now(UTC)
                with connection.transaction(force_rollback=True):
                    connection.execute("insert into query_log (query_type) values ('now')")
                took.append((datetime.now(UTC) - began).total_seconds())

    writer = threading.Thread(target=write)
    with pytest.MonkeyPatch.context() as patch, connect(logged.server.dsn("ops_upkeep")) as reader:
        patch.setattr(months_keep, "_PATIENCE_SECONDS", 1)
        with reader.transaction():
            reader.execute("select count(*) from query_log")
            writer.start()
            with pytest.raises(RefusedError, match="others have held locks on the query log"):
                keep_months(logged.settings, most=1)
            stop.set()
            writer.join(10)
    assert took
    assert max(took) < 1, "it would be the reader's whole time otherwise"
    assert logged.log() == before


def test_only_one_at_a_time(logged: Logged) -> None:
    key = months_keep._KEY
    with pytest.MonkeyPatch.context() as patch, connect(logged.server.dsn("ops_owner")) as other:
        patch.setattr(months_keep, "_PATIENCE_SECONDS", 0)
        other.execute("select pg_advisory_lock(%s)", [key])
        with pytest.raises(RefusedError, match="Another keeping of the log's months of postgres is at work"):
            keep_months(logged.settings)


def test_the_job_does_the_same(logged: Logged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in as_environment(logged.settings).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    job, before = defs.resolve_job_def("retain_query_log"), logged.log()
    only_shown = {"ops": {"query_log": {"config": {"apply": False}}}}
    with dg.DagsterInstance.ephemeral() as instance:
        assert job.execute_in_process(run_config=only_shown, instance=instance).success
        assert logged.log() == before
        assert instance.get_latest_materialization_event(query_log.key) is None
        done = job.execute_in_process(instance=instance, run_config={"ops": {"query_log": {"config": {"most": 1}}}})
    assert logged.log() == {month: rows for month, rows in before.items() if month != OLD[7]}
    (event,) = done.get_asset_materialization_events()
    figures = {name: value.value for name, value in event.materialization.metadata.items()}
    assert (figures["months_dropped"], figures["rows_dropped"], figures["months_made"]) == (1, EACH, 0)
    checks = {each.check_name: each.passed for each in done.get_asset_check_evaluations()}
    assert checks == {"months_ahead": True, "none_waits": False}, "the oldest waits for the next backup"


def test_without_a_default_partition_it_is_detached_concurrently(logged: Logged) -> None:
    """Behind a reader that began before, it does not come to an end; the next run ends it, and puts the month back."""
    month = OLD[8]
    logged.do("alter table query_log detach partition query_log_default")
    with pytest.MonkeyPatch.context() as patch, connect(logged.server.dsn("ops_upkeep")) as reader:
        patch.setattr(months_keep, "_PATIENCE_SECONDS", 1)
        with reader.transaction():
            reader.execute("select count(*) from query_log")
            with pytest.raises(RefusedError, match="others have held locks"):
                keep_months(logged.settings, most=1)
    (gone,) = keep_months(logged.settings, most=1).dropped
    assert gone.month == month
    assert month.partition not in logged.partitions()
    logged.do("alter table query_log attach partition query_log_default default")


@pytest.mark.parametrize(
    ("month", "change"),
    [
        (OLD[9], "delete from {0} where response_time_ms = 7; insert into {0} select * from kept"),
        (OLD[10], "update {0} set query_type = 'other', cache_hit = not cache_hit"),
    ],
)
def test_as_many_rows_are_not_the_same_rows(logged: Logged, month: Month, change: str) -> None:
    assert logged.verdicts()[month] is Verdict.DROP
    logged.do(
        "create temporary table kept as select gen_random_uuid() as id, user_id, query_type, latitude, longitude, "
        f"date, timezone, calculation_system, response_time_ms, cache_hit, created_at from {month.partition} "
        f"where response_time_ms = 7; {change.format(month.partition)}"
    )
    roll_up_due(logged.server.dsn("ops_upkeep"))
    assert logged.verdicts()[month] is Verdict.WAIT
    assert f"of its {EACH} rows are as they are now" in reasons(plan_months(logged.settings), month)


@pytest.mark.parametrize(
    ("hinder", "said", "undo"),
    [
        (
            "alter table {0} owner to postgres",
            "it belongs to postgres, and not to ops_owner",
            "alter table {0} owner to ops_owner",
        ),
        ("create view busy as select * from {0}", "view busy depends on it", "drop view busy"),
    ],
)
def test_one_that_could_not_be_dropped_is_not_detached(logged: Logged, hinder: str, said: str, undo: str) -> None:
    name = OLD[11].partition
    logged.do(hinder.format(name), "postgres")
    try:
        assert said in reasons(keep_months(logged.settings, most=1).plan, OLD[11])
        assert name in logged.partitions()
    finally:
        logged.do(undo.format(name), "postgres")


def test_what_arrow_has_no_value_for_goes_as_text(logged: Logged) -> None:
    """And a query's type is as long in the export as in the log, though its statistics have the beginning only."""
    (gone,) = keep_months(logged.settings, parquet=True, most=1).dropped
    assert (gone.month, gone.rows) == (OLD[11], EACH + 1)
    repository = open_repository(logged.settings)
    export = exports(repository)[-1]
    (stored,) = export.objects
    key = f"{export_folder(repository, export.database)}{export.id}/{stored.name}"
    table = pq.read_table(io.BytesIO(repository.keys.open(repository.store.get(key), stored.name)))
    (odd,) = [row for row in table.to_pylist() if row["latitude"] == "NaN"]
    assert (odd["date"], odd["query_type"]) == ("infinity", "long" * 5000)
    types = logged.rows("select distinct query_type from ops.query_stats_hourly where query_type like 'long%'")
    assert types == [("long" * 50,)]


def test_rows_that_came_after_their_month_was_dropped_never_replace_its_statistics(logged: Logged) -> None:
    month, before = OLD[1], logged.statistics()
    late = f"select 'late', '{month.start}'::timestamptz + i * interval '1 h' from generate_series(1, 40) as i"
    logged.do(f"insert into query_log (query_type, created_at) {late}, generate_series(1, 3)", "ops_upkeep")
    roll_up_due(logged.server.dsn("ops_upkeep"))
    assert logged.statistics() == before
    with pytest.raises(RefusedError, match="is of a month that was dropped from the log"):
        roll_up(logged.server.dsn("ops_upkeep"), Period(Grain.HOUR, month.start + timedelta(hours=5)))
    found = look(logged.server.dsn("ops_upkeep"), Grain.HOUR)["counts_reconcile"]
    assert not found.passed
    assert found.passing, "a warning, since nobody can mend it"
    assert "got 3 rows after its month had been dropped, which are in the log only" in found.said
    done = keep_months(logged.settings)
    assert month in done.made
    assert "came after its month was dropped" in reasons(done.plan, month)
    assert logged.log()[month] == 120
    logged.do(f"delete from query_log where query_type = 'late' and created_at >= '{month.start}'")


def test_who_does_upkeep_cannot_say_what_the_owner_attaches(logged: Logged) -> None:
    with pytest.raises(DatabaseError, match="permission denied"):
        logged.do("update ops.query_log_months set name = 'stranger'", "ops_upkeep")


def test_row_security_that_hides_the_log_is_refused(logged: Logged) -> None:
    logged.do("alter table query_log enable row level security")
    try:
        with pytest.raises(RefusedError, match="Row security hides rows"):
            roll_up_due(logged.server.dsn("ops_upkeep"))
    finally:
        logged.do("alter table query_log disable row level security")
