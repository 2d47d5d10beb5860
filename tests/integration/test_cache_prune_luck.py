"""Pruning with bad luck: killed, doubled, cut off, a standby gone, odd rows. Rows go once, and nothing else does."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from ops_workflows.cache import table
from ops_workflows.cache.prune import plan_prune, prune
from ops_workflows.cache.report import plan_figures
from ops_workflows.errors import DatabaseError, OpsError, RefusedError
from ops_workflows.local.stack import Stack
from ops_workflows.postgres.connection import connect
from ops_workflows.progress import Silent
from ops_workflows.schema.apply import migrate_up
from ops_workflows.settings import Settings
from tests.support.cache import alive, expired, fill, left, unhindered
from tests.support.command import as_environment
from tests.support.heard import Heard
from tests.support.schema import MIGRATIONS, Database, own_database, rows, wait_for

_KILLED = """
import os, signal, sys
from ops_workflows.cache.prune import prune
from ops_workflows.progress import Silent
from ops_workflows.settings import Settings

class Doomed(Silent):
    left = int(sys.argv[1])
    def advance(self, done):
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)

prune(Settings.read(), Doomed())
"""
BATCH = Path(table.__file__).with_name("expired.sql").read_text().encode()


@pytest.fixture(scope="module")
def database(settings: Settings) -> Iterator[Database]:
    with own_database(settings) as made:
        migrate_up(made.owner, MIGRATIONS)
        yield made


@pytest.fixture
def own(settings: Settings, database: Database) -> Settings:
    return unhindered(settings, database)


@pytest.fixture
def lenient(database: Database) -> Iterator[None]:
    """The table as an application may have it whose own schema demands less."""
    columns = ("expires_at", "created_at", "data")
    with connect(database.owner) as connection:
        for column in columns:
            connection.execute(f"alter table panchangam_cache alter {column} drop not null".encode())
        yield
        connection.execute("truncate panchangam_cache")
        for column in columns:
            connection.execute(f"alter table panchangam_cache alter {column} set not null".encode())


def checksum(database: Database, kinds: str = "%") -> object:
    """Of all that the rows of these kinds hold."""
    with connect(database.superuser) as connection:
        query = b"select md5(string_agg(c::text, '|' order by id)) from panchangam_cache as c where cache_key like %s"
        row = connection.execute(query, [kinds]).fetchone()
    return row and row[0]


def test_a_dry_run_a_run_and_a_run_again(own: Settings, database: Database) -> None:
    expired(database, 3_000)
    kept = [
        ("kept-alive:", "now() + interval '1 hour'", "now() - interval '100 days'"),
        ("kept-young:", "'infinity'", "now() - interval '89 days'"),
        ("kept-far:", "'9999-12-31'", "now() - interval '100 days'"),
    ]
    for latitude, (kind, expires, created) in enumerate(kept, 2):
        fill(database, kind, 200, expires, latitude, created=created)
    fill(database, "unexpiring:", 100, "'infinity'", latitude=9)
    everything, rest = checksum(database), checksum(database, "kept-%")
    gone = {"expired": 3_000, "unexpiring": 100}

    plan = plan_prune(own)
    assert (plan.rows, checksum(database)) == (3_100, everything)
    first = prune(own)
    assert first.rows == {"expired": plan.expired, "unexpiring": plan.unexpiring} == gone
    assert (checksum(database), checksum(database, "kept-%")) == (rest, rest)
    assert (prune(own).total, plan_prune(own).rows, checksum(database)) == (0, 0, rest)


def test_rows_that_expire_in_the_far_future_are_told_of_and_stay(
    own: Settings, database: Database, lenient: None
) -> None:
    for latitude, expires in enumerate(("'9999-12-31'", "'294276-12-31'", "now() + interval '367 days'"), 2):
        fill(database, f"far:{latitude}:", 10, expires, latitude)
    fill(database, "near:", 10, "now() + interval '365 days'", latitude=20)
    for done in (plan_prune(own), prune(own)):
        assert done.left is not None
        assert (done.left.far, done.left.expired) == (30, 0)
        assert done.left.last.startswith("294276-12-31")
    assert left(database) == {"far": 30, "near": 10}
    wider = prune(own.model_copy(update={"prune_far_days": 368.0}))
    assert wider.left is not None
    assert wider.left.far == 20


def test_whatever_the_schema_lets_be_null_is_neither_touched_unasked_nor_a_stumbling_block(
    own: Settings, database: Database, lenient: None
) -> None:
    fill(database, "ageless:", 5, "null", 2, created="null")
    fill(database, "young:", 5, "null", 3, created="now()")
    fill(database, "not-yet-made:", 5, "null", 4, created="'infinity'")
    fill(database, "old:", 5, "null", 5)
    fill(database, "always-expired:", 5, "'-infinity'", 6, created="null")
    with connect(database.owner) as connection:
        connection.execute("update panchangam_cache set data = null")
    plan = plan_prune(own)
    assert (plan.expired, plan.unexpiring) == (5, 5)
    assert plan.left is not None
    assert (plan.left.expired, plan.left.first) == (5, "-infinity")
    assert prune(own).rows == {"expired": 5, "unexpiring": 5}
    assert left(database) == {"ageless": 5, "young": 5, "not-yet-made": 5}


def test_of_two_runs_at_once_one_deletes_and_the_other_finds_nothing_or_is_refused(
    own: Settings, database: Database
) -> None:
    expired(database, 8_000)
    alive(database, 100)
    rest, totals, barrier = checksum(database, "alive:%"), [], threading.Barrier(2)

    def run() -> None:
        barrier.wait(10)
        try:
            totals.append(prune(own).total)
        except RefusedError:
            totals.append(0)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(totals) == [0, 8_000]
    assert checksum(database) == rest


def test_batches_that_meet_in_spite_of_all_neither_wait_for_each_other_nor_count_a_row_twice(
    own: Settings, database: Database
) -> None:
    expired(database, 8_000)
    totals, barrier = [0, 0], threading.Barrier(2)

    def run(number: int) -> None:
        with connect(own.require("upkeep_dsn")) as connection:
            barrier.wait(10)
            row = (1,)
            while row and row[0]:
                row = connection.execute(BATCH, {"after": "-infinity", "before": "now", "rows": 50}).fetchone() or (0,)
                totals[number] += row[0]

    threads = [threading.Thread(target=run, args=[number]) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(totals) == 8_000
    assert all(totals)
    assert left(database) == {}


def test_killed_at_any_batch_it_is_run_again(own: Settings, database: Database, tmp_path: Path) -> None:
    expired(database, 6_000)
    alive(database, 300)
    rest, before = checksum(database, "alive:%"), 6_000
    small = own.model_copy(update={"prune_batch_seconds": 0.0001, "prune_duty": 1.0})
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(MIGRATIONS.parent)} | as_environment(small)
    for batch in (1, 2, 3):
        done = subprocess.run(
            [sys.executable, "-c", _KILLED, str(batch)], env=environment, cwd=tmp_path, timeout=60, check=False
        )
        assert done.returncode == -9
        now = left(database)["expired"]
        assert now < before
        before = now
        assert checksum(database, "alive:%") == rest
    assert prune(own).total == before
    assert checksum(database) == rest


@pytest.mark.parametrize("session", ["ops cache prune", "ops cache observer"])
def test_a_session_that_is_ended_from_outside_is_an_error_and_the_next_run_goes_on(
    own: Settings, database: Database, session: str
) -> None:
    expired(database, 4_000)

    class Cutting(Silent):
        def advance(self, done: int) -> None:  # noqa: ARG002 - of Progress
            query = "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()"
            rows(database.superuser, f"{query} and application_name = '{session}'")
            until(time.monotonic() + 0.6)  # when the observer looks again

    with pytest.raises(DatabaseError, match="terminating connection") as caught:
        prune(own, Cutting())
    assert one_sentence(caught.value)
    between = left(database)["expired"]
    assert 0 < between < 4_000
    assert prune(own).total == between


def test_it_ends_in_time_and_the_next_run_goes_on(own: Settings, database: Database) -> None:
    expired(database, 3_000)

    class Slow(Silent):
        def advance(self, done: int) -> None:  # noqa: ARG002 - of Progress
            until(began + 0.5)

    began = time.monotonic()
    done = prune(own.model_copy(update={"prune_most_seconds": 0.5}), Slow())
    assert 0 < done.total < 3_000
    assert done.ended == "0.5 s are what one run may take (OPS_PRUNE_MOST_SECONDS)"
    assert prune(own).total == 3_000 - done.total


def test_a_canary_that_comes_back_late_pauses_and_says_of_how_much(own: Settings, database: Database) -> None:
    expired(database, 20)
    heard, done = Heard(), []
    careful = own.model_copy(update={"prune_most_canary_ms": 200.0})
    waiting = """
        select from pg_stat_activity where application_name = 'ops cache observer' and wait_event_type = 'Lock'
            and datname = current_database() and query_start < clock_timestamp() - interval '400 ms'"""
    with connect(database.owner) as other:
        other.execute("begin")
        other.execute("lock table panchangam_cache in access exclusive mode")
        thread = threading.Thread(target=lambda: done.append(prune(careful, heard)))
        thread.start()
        wait_for(lambda: bool(rows(database.superuser, waiting)))
        other.execute("rollback")
    thread.join(60)
    assert done[0].total == 20
    assert heard.sentences[0].startswith("Pruning pauses: the canary query took ")
    assert heard.sentences[0].endswith(" ms of 200 ms.")
    assert int(heard.sentences[0].split()[-5]) >= 400


def test_the_pause_is_one_of_utc_over_midnight_whatever_zone_the_server_is_in(
    own: Settings, database: Database
) -> None:
    expired(database, 20)
    hours = "to_char(now() at time zone 'UTC' + n * interval '1 hour', 'HH24:MI')"
    (soon,), (later,) = rows(database.superuser, f"select {hours} from generate_series(1, 2) as n")
    with connect(database.superuser) as admin:
        zone = sql.SQL("alter role ops_upkeep in database {} {}")
        name = sql.Identifier(admin.info.dbname)
        admin.execute(zone.format(name, sql.SQL("set timezone = 'Pacific/Kiritimati'")))
        try:
            # All day and night but for the hour after the next.
            brief = {"prune_most_seconds": 0.6, "prune_pause_window": f"{later}-{soon}"}
            paused = prune(own.model_copy(update=brief))
            assert paused.total == 0
            assert f"within the pause from {later} to {soon} UTC" in paused.ended
            assert prune(own.model_copy(update={"prune_pause_window": f"{soon}-{later}"})).total == 20
        finally:
            admin.execute(zone.format(name, sql.SQL("reset timezone")))


def test_a_standby_that_goes_away_meanwhile_is_told_of_and_not_waited_for(
    own: Settings, database: Database, stack: Stack, superuser: Callable[..., psycopg.Connection[Any]]
) -> None:
    expired(database, 20)
    streaming = b"select from pg_stat_replication where application_name = 'standby' and state = 'streaming'"
    heard, done = Heard(), []
    with superuser(stack.folder) as primary, connect(database.owner) as other:
        wait_for(lambda: bool(primary.execute(streaming).fetchall()))
        # Held up until the standby has been seen, and is gone.
        other.execute("begin")
        other.execute("lock table panchangam_cache in share update exclusive mode")
        thread = threading.Thread(target=lambda: done.append(prune(own, heard)))
        thread.start()
        wait_for(lambda: bool(heard.sentences))
        primary.execute("alter role ops_standby nologin")
        try:
            cut = b"select pg_terminate_backend(pid) from pg_stat_replication where application_name = 'standby'"
            primary.execute(cut)
            wait_for(lambda: len(heard.sentences) > 1)
            other.execute("rollback")
            thread.join(60)
        finally:
            primary.execute("alter role ops_standby login")
        wait_for(lambda: bool(primary.execute(streaming).fetchall()), 30)
    assert done[0].total == 20
    assert heard.sentences[1].startswith("The standby standby is gone since ")
    assert done[0].notes == heard.sentences[1:2]


def test_bloat_is_measured_where_it_can_be_and_else_estimated(own: Settings, database: Database) -> None:
    expired(database, 6_000)
    alive(database, 6_000)
    with connect(database.superuser) as admin:
        admin.execute("analyze panchangam_cache")
        estimated = prune(own)
        assert (estimated.before.bloat_measured, estimated.after.bloat_measured) == (False, False)
        # A function that somebody else has made is not called in its place.
        admin.execute(
            "create function public.pgstattuple_approx(regclass, out dead_tuple_percent float8, "
            "out approx_free_percent float8) language sql as 'select 50.0, 50.0'"
        )
        assert not plan_prune(own).table.bloat_measured
        admin.execute("drop function public.pgstattuple_approx")
        admin.execute('create schema "Odd"')
        admin.execute('create extension pgstattuple schema "Odd"')
        assert not plan_prune(own).table.bloat_measured, "not for our role"
        admin.execute('grant usage on schema "Odd" to ops_upkeep')
        admin.execute('grant execute on function "Odd".pgstattuple_approx(regclass) to ops_upkeep')
        measured = plan_prune(own).table
        admin.execute("drop extension pgstattuple")
    assert measured.bloat_measured
    assert measured.bloat == pytest.approx(estimated.after.bloat, abs=0.1)
    assert estimated.before.bloat == pytest.approx(0, abs=0.1)
    assert estimated.after.bloat == pytest.approx(0.5, abs=0.1)


def test_counters_that_were_reset_make_no_table_look_empty_or_bloated(own: Settings, database: Database) -> None:
    alive(database, 3_000)
    reset = "select pg_stat_reset_single_table_counters('panchangam_cache'::regclass)"
    with connect(database.superuser) as admin:
        admin.execute("analyze panchangam_cache")
        admin.execute(reset.encode())
        wait_for(lambda: plan_prune(own).table.bloat is None)
        assert plan_prune(own).table.live_rows == 3_000
        assert plan_figures(plan_prune(own))["bloat_unknown"] is True
        admin.execute("analyze panchangam_cache")
    known = plan_prune(own).table
    assert (known.live_rows, known.bloat) == (3_000, pytest.approx(0, abs=0.1))


@pytest.mark.parametrize("style", ["SQL, DMY", "German"])
def test_a_style_of_dates_that_a_role_or_a_database_has_is_not_ours(
    own: Settings, database: Database, style: str
) -> None:
    expired(database, 20)
    with connect(database.superuser) as admin:
        name, role = sql.Identifier(admin.info.dbname), sql.Literal(style)
        admin.execute(sql.SQL("alter role ops_upkeep in database {} set datestyle = {}").format(name, role))
        try:
            assert plan_prune(own).expired == 20
            assert prune(own).total == 20
        finally:
            admin.execute(sql.SQL("alter role ops_upkeep in database {} reset datestyle").format(name))


def until(moment: float) -> None:
    wait_for(lambda: time.monotonic() >= moment)


def one_sentence(error: OpsError) -> bool:
    return "\n" not in str(error) and str(error).endswith(".")
