"""Each trouble of tables, made to happen on a real server and found; and nothing found where all is well."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from ops_workflows.definitions import defs
from ops_workflows.errors import RefusedError
from ops_workflows.local.seed import seed
from ops_workflows.local.stack import Stack
from ops_workflows.postgres.connection import connect
from ops_workflows.schema.apply import migrate_up
from ops_workflows.settings import Settings
from ops_workflows.tables.findings import Finding, Kind, Outcome, Verdict
from ops_workflows.tables.look import look
from ops_workflows.tables.readings import read
from ops_workflows.tables.thresholds import Thresholds
from ops_workflows.tables.vacuum import dead_rows_due
from tests.support.command import as_environment, ops_here
from tests.support.schema import MIGRATIONS, Database, own_database, rows, wait_for
from tests.support.servers import scratch_server

STRICT = Thresholds(
    least_bytes=500_000,
    least_dead_rows=1_000,
    vacuum_lag=timedelta(0),
    hold=timedelta(0),
    longest_vacuum=timedelta(0),
    unused=timedelta(0),
    least_index_bytes=100_000,
)


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    with own_database(settings) as made:
        yield made


@pytest.fixture
def own(settings: Settings, database: Database) -> Settings:
    return settings.model_copy(update={"upkeep_dsn": SecretStr(database.upkeep)})


def do(dsn: str, statements: str) -> None:
    """In a session that is over by the end, and has told the server's counters all it did."""
    with connect(dsn) as connection:
        connection.execute(statements.encode())


def found(own: Settings, kind: Kind, thresholds: Thresholds = STRICT) -> Outcome:
    return next(each for each in look(own, thresholds).outcomes if each.kind is kind)


def of(outcome: Outcome, what: str) -> Finding:
    return next(each for each in outcome.findings if each.what == what)


def names(outcome: Outcome) -> set[str]:
    return {each.what for each in outcome.findings}


def shrink(database: Database) -> None:
    """A table of which nine tenths are deleted."""
    do(
        database.owner,
        "create table big (id bigint primary key, t text) with (autovacuum_enabled = off);"
        "insert into big select n, repeat('x', 100) from generate_series(1, 20000) n",
    )
    do(database.owner, "analyze big")
    do(database.owner, "delete from big where id % 10 <> 0")


def test_the_projects_own_schema_with_data_is_well(settings: Settings) -> None:
    with own_database(settings) as made:
        migrate_up(made.owner, MIGRATIONS)
        seed(made.owner, rows=3_000, seed=1)
        inspection = look(settings.model_copy(update={"upkeep_dsn": SecretStr(made.upkeep)}))
    assert [each.said for each in inspection.outcomes if each.verdict is not Verdict.OK] == []
    assert inspection.tables > 20
    assert inspection.indexes > 40
    assert inspection.table_bytes > 1e6


def test_dead_rows_and_bloat_are_found_and_gone_once_it_is_vacuumed_and_rewritten(
    own: Settings, database: Database
) -> None:
    shrink(database)
    dead = of(found(own, Kind.FEW_DEAD_ROWS), "public.big")
    assert "18,000 dead rows beside 2,000 living ones; autovacuum comes at 4,050." in dead.said
    off = of(found(own, Kind.AUTOVACUUM_GETS_THROUGH), "public.big")
    assert "switched off for public.big" in off.said
    do(database.owner, "vacuum (analyze) big")
    assert found(own, Kind.FEW_DEAD_ROWS).verdict is Verdict.OK
    estimated = of(found(own, Kind.NO_BLOAT), "public.big")
    assert estimated.verdict is Verdict.WARNING
    assert "(90%, estimated)" in estimated.said
    do(database.superuser, "create extension pgstattuple; grant pg_stat_scan_tables to ops_upkeep")
    try:
        measured = found(own, Kind.NO_BLOAT)
    finally:
        do(database.superuser, "drop extension pgstattuple; revoke pg_stat_scan_tables from ops_upkeep")
    assert ", measured)" in of(measured, "public.big").said
    assert abs(of(measured, "public.big").bytes / estimated.bytes - 1) < 0.05
    do(database.owner, "vacuum (full, analyze) big")
    assert found(own, Kind.NO_BLOAT).verdict is Verdict.OK


def test_an_index_that_most_entries_have_left_is_found_and_reindexing_mends_it(
    own: Settings, database: Database
) -> None:
    do(
        database.owner,
        "create table narrow (id bigint, other bigint) with (autovacuum_enabled = off);"
        "insert into narrow select n, n * 7919 % 40009 from generate_series(1, 40000) n;"
        "create index narrow_other on narrow (other)",
    )
    do(database.owner, "delete from narrow where id % 10 <> 0")
    do(database.owner, "vacuum (analyze) narrow")
    assert "REINDEX INDEX CONCURRENTLY public.narrow_other" in of(found(own, Kind.NO_BLOAT), "public.narrow_other").do
    do(database.owner, "reindex index narrow_other")
    assert "public.narrow_other" not in names(found(own, Kind.NO_BLOAT))


def test_a_vacuum_that_is_due_and_does_not_come_is_overdue_by_the_tables_own_options(
    own: Settings, database: Database
) -> None:
    # A lock that autovacuum passes by for as long as it is held: it never waits.
    do(
        database.owner,
        "create table due (id int) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 900,"
        "autovacuum_vacuum_max_threshold = 800); insert into due select generate_series(1, 2000)",
    )
    with connect(database.owner) as holder:
        holder.execute("begin")
        holder.execute("lock table due in share update exclusive mode")
        do(database.owner, "delete from due where id <= 850")
        overdue = of(found(own, Kind.AUTOVACUUM_GETS_THROUGH), "public.due")
        assert "due for a vacuum, with 850 dead rows of 800." in overdue.said
        assert "canceling autovacuum task" in overdue.do
        young = of(
            found(own, Kind.AUTOVACUUM_GETS_THROUGH, replace(STRICT, vacuum_lag=timedelta(days=999))), "public.due"
        )
        assert young.verdict is Verdict.UNKNOWN
        with connect(database.upkeep) as connection:
            looked = read(connection, 10**9)
        assert [dead_rows_due(each, looked.circumstances) for each in looked.tables if each.name == "public.due"] == [
            800
        ]
        holder.execute("rollback")
    do(database.owner, "vacuum due")
    assert "public.due" not in names(found(own, Kind.AUTOVACUUM_GETS_THROUGH))


def test_an_old_transaction_that_holds_vacuums_back_is_named(own: Settings, database: Database) -> None:
    do(database.owner, "create table t (id int)")
    with connect(database.owner, application_name="forgotten") as holder:
        holder.execute("begin")
        holder.execute("insert into t values (1)")
        pid = holder.info.backend_pid
        what = f"session {pid} of ops_owner (forgotten) idle in transaction"
        held = of(found(own, Kind.AUTOVACUUM_GETS_THROUGH), what)
        assert held.do.endswith(f"SELECT pg_terminate_backend({pid})")
        assert what not in names(found(own, Kind.AUTOVACUUM_GETS_THROUGH, replace(STRICT, hold=timedelta(hours=1))))
        do(database.superuser, "revoke pg_read_all_stats from ops_upkeep")
        try:
            blind = found(own, Kind.AUTOVACUUM_GETS_THROUGH)
        finally:
            do(database.superuser, "grant pg_read_all_stats to ops_upkeep")
        assert blind.verdict is Verdict.UNKNOWN
        assert "GRANT pg_read_all_stats" in of(blind, "pg_stat_activity").do
        holder.execute("rollback")
    assert what not in names(found(own, Kind.AUTOVACUUM_GETS_THROUGH))


def test_a_vacuum_that_does_not_end_is_named(own: Settings, database: Database) -> None:
    shrink(database)
    with psycopg.connect(database.owner, autocommit=True) as slow, connect(database.superuser) as admin:
        pid = slow.info.backend_pid
        slow.execute("set vacuum_cost_delay = 100; set vacuum_cost_limit = 1")

        def vacuum() -> None:
            with pytest.raises(psycopg.errors.QueryCanceled):
                slow.execute("vacuum big")

        thread = threading.Thread(target=vacuum)
        thread.start()
        try:
            at_work = b"select from pg_stat_progress_vacuum where pid = %s and relid = 'big'::regclass"
            wait_for(lambda: bool(admin.execute(at_work, [pid]).fetchall()))
            outcome = found(own, Kind.AUTOVACUUM_GETS_THROUGH)
        finally:
            admin.execute("select pg_cancel_backend(%s)", [pid])
            thread.join(30)
    assert any(each.said.startswith(f"Process {pid} vacuums public.big since ") for each in outcome.findings)


def test_sequences_near_the_end_of_what_they_or_their_columns_hold(own: Settings, database: Database) -> None:
    do(
        database.owner,
        "create table narrow (id serial); alter sequence narrow_id_seq as bigint;"
        "create table identity (id int generated always as identity);"
        "create sequence free; create table fed (id int default nextval('free'));"
        "create domain small as smallint check (value > 0); create table domained (id small);"
        "create sequence of_domain owned by domained.id;"
        "create table wide (id bigserial);"
        "create sequence again maxvalue 10 cycle;"
        "create sequence down increment -1 minvalue -100 maxvalue -1;"
        "select setval('narrow_id_seq', 2000000000), setval('identity_id_seq', 1600000000),"
        "  setval('free', 1700000000), setval('of_domain', 30000),"
        "  setval('wide_id_seq', 2000000000), setval('again', 10), setval('down', -95)",
    )
    outcome = found(own, Kind.SEQUENCES_HAVE_ROOM)
    assert names(outcome) == {
        f"public.{name}" for name in ("narrow_id_seq", "free", "of_domain", "down")
    }  # fmt: skip
    assert "public.fed.id (integer)" in of(outcome, "public.free").said
    assert "93.1% of its numbers: it is at 2,000,000,000 of 2,147,483,647" in of(outcome, "public.narrow_id_seq").said
    assert "months" not in outcome.said, "there is no pace to tell"
    assert names(found(own, Kind.SEQUENCES_HAVE_ROOM, replace(STRICT, most_of_sequence=0.7))) == names(outcome) | {
        "public.identity_id_seq"
    }
    do(database.owner, "revoke all on sequence free, down from ops_upkeep")
    outcome = found(own, Kind.SEQUENCES_HAVE_ROOM)
    assert of(outcome, "public.free, public.down").verdict is Verdict.UNKNOWN


def test_indexes_that_repeat_others_are_found_and_those_that_do_not_are_left(own: Settings, database: Database) -> None:
    do(
        database.owner,
        "create table t (id int primary key, x int, y int, z text);"
        "create index same_as_key on t (id); create index x on t (x); create index x_again on t (x);"
        "create index x_y on t (x, y); create unique index x_unique on t (x); create index x_down on t (x desc);"
        "create index x_part on t (x) where y is null; create index x_hash on t using hash (x);"
        "create index z on t (z); create index z_pattern on t (z text_pattern_ops);"
        'create index z_c on t (z collate "C");'
        "create index z_lower on t (lower(z)); create index z_lower_again on t (lower(z));"
        "create index y_with_z on t (y) include (z); create index y_z on t (y, z);"
        "create index y_with_id on t (y) include (id)",
    )
    outcome = found(own, Kind.NO_DUPLICATE_INDEX)
    assert names(outcome) == {
        f"public.{name}" for name in ("same_as_key", "x", "x_again", "z_lower_again", "y_with_z")
    }  # fmt: skip
    assert of(outcome, "public.same_as_key").bytes > 0
    assert "public.t_pkey" in of(outcome, "public.same_as_key").said
    for each in outcome.findings:
        do(database.owner, each.do.partition("; ")[0])
    assert found(own, Kind.NO_DUPLICATE_INDEX).verdict is Verdict.OK


def test_idle_indexes_of_partitions_count_as_one_and_foreign_keys_keep_theirs(
    own: Settings, database: Database
) -> None:
    do(
        database.owner,
        "create table u (id int primary key); insert into u select generate_series(1, 10);"
        "create table p (u int references u, x int, y int) partition by range (x);"
        "create table p1 partition of p for values from (0) to (10000);"
        "create table p2 partition of p for values from (10000) to (20000);"
        "insert into p select n % 10 + 1, n, n from generate_series(0, 19999) n;"
        "create index p_u on p (u); create index p_y on p (y)",
    )
    do(database.owner, "analyze p")
    idle = found(own, Kind.NO_UNUSED_INDEX)
    assert names(idle) == {"public.p_y"}
    total = rows(database.owner, "select pg_relation_size('p1_y_idx') + pg_relation_size('p2_y_idx')")
    assert [(of(idle, "public.p_y").bytes,)] == total
    young = found(own, Kind.NO_UNUSED_INDEX, replace(STRICT, unused=timedelta(days=30)))
    assert (young.verdict, "counters began only at" in young.said) == (Verdict.UNKNOWN, True)
    assert rows(database.owner, "select count(*) from p where y = 7 and x < 10000") == [(1,)]
    assert found(own, Kind.NO_UNUSED_INDEX).verdict is Verdict.OK


def test_how_old_an_idle_index_is_the_server_knows_once_it_keeps_times_of_commits() -> None:
    with scratch_server() as server:
        own = Settings(upkeep_dsn=SecretStr(server.dsn("ops_upkeep")))
        with server.connect() as connection:
            connection.execute("create table t as select n as x, n as y from generate_series(1, 20000) n")
            connection.execute("create index before on t (x)")
            connection.execute("alter system set track_commit_timestamp = on")
        hidden = of(found(own, Kind.NO_UNUSED_INDEX), "public.before")
        assert hidden.verdict is Verdict.UNKNOWN
        server.server.stop("fast")
        server.server.start()
        with server.connect() as connection:
            connection.execute("create index after on t (y)")
            connection.execute("checkpoint")
            ((kept, made),) = connection.execute(
                "select c.at, pg_xact_commit_timestamp(xmin) from pg_index, lateral (select pg_xact_commit_timestamp("
                "oldest_commit_ts_xid) as at from pg_control_checkpoint()) c where indexrelid = 'after'::regclass"
            ).fetchall()
        with connect(server.dsn("ops_upkeep"), dbname="postgres") as connection:
            ages = {each.name: each.made_at for each in read(connection, 0).indexes if each.table_name == "public.t"}
        assert ages == {"public.before": kept, "public.after": made}
        assert {each.verdict for each in found(own, Kind.NO_UNUSED_INDEX).findings} == {Verdict.WARNING}


def test_tables_that_were_never_analyzed_partitioned_ones_too(own: Settings, database: Database) -> None:
    do(
        database.owner,
        "create table p (x int) partition by range (x);"
        "create table p1 partition of p for values from (0) to (10000) with (autovacuum_enabled = off);"
        "create table few (x int); insert into few select generate_series(1, 20);"
        "insert into p select generate_series(0, 4999)",
    )
    outcome = found(own, Kind.ANALYZED)
    assert names(outcome) == {"public.p", "public.p1"}
    do(database.owner, "analyze p1")
    assert names(found(own, Kind.ANALYZED)) == {"public.p"}
    do(database.owner, "analyze p")
    assert found(own, Kind.ANALYZED).verdict is Verdict.OK
    do(database.owner, "revoke all on p1 from ops_upkeep")
    do(database.superuser, "select pg_stat_reset()")
    assert of(found(own, Kind.ANALYZED), "public.p1").verdict is Verdict.UNKNOWN
    assert of(found(own, Kind.NO_BLOAT, replace(STRICT, least_bytes=10_000)), "public.p1").verdict is Verdict.UNKNOWN


def test_nobody_waits_for_a_table_that_somebody_has_to_themselves(own: Settings, database: Database) -> None:
    shrink(database)
    do(database.owner, "vacuum big")
    with connect(database.owner) as holder:
        holder.execute("begin")
        holder.execute("lock table big in access exclusive mode")
        locked = of(found(own, Kind.NO_BLOAT), "public.big")
        holder.execute("rollback")
    assert (locked.verdict, "somebody had it to themselves" in locked.said) == (Verdict.UNKNOWN, True)
    assert of(found(own, Kind.NO_BLOAT), "public.big").verdict is Verdict.WARNING


def test_a_standby_is_refused(own: Settings, stack: Stack, superuser: Callable[..., psycopg.Connection[Any]]) -> None:
    with superuser(stack.folder, "standby") as standby:
        dsn = make_conninfo(own.require("upkeep_dsn"), port=standby.info.port, dbname="postgres")
    with pytest.raises(RefusedError, match="OPS_UPKEEP_DSN names a standby"):
        look(own.model_copy(update={"upkeep_dsn": SecretStr(dsn)}))


def test_a_person_reads_a_table_and_a_machine_json(own: Settings, database: Database, tmp_path: Path) -> None:
    do(database.owner, "create table t (id serial); select setval('t_id_seq', 2000000000)")
    do(database.owner, 'create table "[odd]" (id smallserial); select setval(\'"[odd]_id_seq"\', 30000)')
    shown = ops_here(own, tmp_path, "tables", "--json")
    assert (shown.code, shown.err) == (0, "")
    told = json.loads(shown.out)
    checks = {each["check"]: each for each in told["checks"]}
    assert list(checks) == list(Kind)
    assert checks["sequences_have_room"]["verdict"] == "warning"
    assert [each["what"] for each in checks["sequences_have_room"]["findings"]] == [
        "public.t_id_seq",
        'public."[odd]_id_seq"',
    ]
    assert {each["verdict"] for name, each in checks.items() if name != "sequences_have_room"} == {"ok"}
    text = ops_here(own, tmp_path, "tables")
    assert (text.code, "sequences have room" in text.out, "[odd]_id_seq" in text.out) == (0, True, True)
    away = make_conninfo(own.require("upkeep_dsn"), port=1)
    failed = ops_here(own.model_copy(update={"upkeep_dsn": SecretStr(away)}), tmp_path, "tables", "--json")
    assert (failed.code, failed.out, "To do: start the server" in failed.sentence) == (1, "", True)


def test_dagster_looks_and_warns(
    own: Settings, database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    do(database.owner, "create table t (id serial); select setval('t_id_seq', 2000000000)")
    for name, value in as_environment(own).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    with dg.DagsterInstance.ephemeral() as instance:
        result = defs.resolve_job_def("inspect_tables").execute_in_process(instance=instance)
    assert result.success
    (event,) = result.get_asset_materialization_events()
    assert event.materialization.metadata["tables"].value == 1
    checks = {each.check_name: each for each in result.get_asset_check_evaluations()}
    assert set(checks) == set(Kind)
    assert {name for name, each in checks.items() if not each.passed} == {"sequences_have_room"}
    failed = checks["sequences_have_room"]
    assert failed.severity is dg.AssetCheckSeverity.WARN
    assert "| warning | public.t_id_seq |" in str(failed.metadata["worst"].value)
