"""Pruning that others hold up: it comes through where it can, and says plainly where it cannot."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops_workflows.cache.prune import plan_prune, prune
from ops_workflows.errors import DatabaseError
from ops_workflows.postgres.connection import connect
from ops_workflows.schema.apply import migrate_up
from ops_workflows.settings import Settings
from tests.support.cache import expired, fill, left, unhindered, unlimited
from tests.support.command import ops_here
from tests.support.schema import MIGRATIONS, Database, own_database, rows, wait_for
from tests.support.servers import scratch_server

# A batch that comes to a row with n = {n} stays there for a moment, within which the row can be changed under it.
_GATE = """
    create function gate(data jsonb) returns boolean language plpgsql as $$
    begin
        if data->>'n' = '{n}' and current_setting('application_name') = 'ops cache prune' then
            perform pg_sleep(0.2);
        end if;
        return true;
    end $$;
    alter table panchangam_cache enable row level security;
    create policy gate on panchangam_cache using (gate(data))"""
_NO_GATE = """
    drop policy gate on panchangam_cache;
    alter table panchangam_cache disable row level security;
    drop function gate"""
_AT_THE_GATE = """
    select from pg_stat_activity
    where application_name = 'ops cache prune' and datname = current_database() and wait_event = 'PgSleep'"""


@pytest.fixture(scope="module")
def database(settings: Settings) -> Iterator[Database]:
    with own_database(settings) as made:
        migrate_up(made.owner, MIGRATIONS)
        yield made


@pytest.fixture
def own(settings: Settings, database: Database) -> Settings:
    return unhindered(settings, database)


@contextmanager
def changed_under_a_batch(database: Database, n: int, change: str, *, again: bool = False) -> Iterator[None]:
    """Carry a change out while a batch is at the row `n`: once, or whenever one is."""
    over = threading.Event()

    def at_it() -> None:
        with connect(database.superuser) as connection:
            while not over.wait(0.01):
                if connection.execute(_AT_THE_GATE.encode()).fetchall():
                    connection.execute(change.encode())
                    if not again:
                        return

    with connect(database.superuser) as admin:
        admin.execute(_GATE.format(n=n).encode())
        thread = threading.Thread(target=at_it)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(30)
            admin.execute(_NO_GATE.encode())


def test_a_row_changed_under_a_batch_is_not_the_end(own: Settings, database: Database) -> None:
    expired(database, 3_000)
    fill(database, "unexpiring:", 100, "'infinity'", latitude=3)
    # Of the first batch; with a new place, and still expired.
    change = "update panchangam_cache set data = '{\"n\": -1}' where cache_key = 'expired:2990'"
    with changed_under_a_batch(database, 2_990, change):
        done = prune(own.model_copy(update={"prune_duty": 1.0}))
    assert done.rows == {"expired": 3_000, "unexpiring": 100}
    assert (done.ended, done.stay, left(database)) == ("nothing more to prune", 0, {})


def test_a_row_changed_under_each_batch_is_left_in_the_end(own: Settings, database: Database) -> None:
    expired(database, 3)
    change = "update panchangam_cache set created_at = clock_timestamp() where cache_key = 'expired:2'"
    with changed_under_a_batch(database, 2, change, again=True):
        done = prune(own.model_copy(update={"prune_duty": 1.0}))
    assert done.ended == "1 rows that were locked or changed meanwhile stay, and nothing more is to prune"
    assert (done.total, done.stay, left(database)) == (2, 1, {"expired": 1})
    assert prune(own).total == 1


def test_rows_locked_for_good_do_not_keep_it_and_are_told_of(own: Settings, database: Database) -> None:
    expired(database, 1_200)
    with connect(database.owner) as other:
        other.execute("begin")
        other.execute("select from panchangam_cache where (data->>'n')::int % 2 = 0 for update")
        done = prune(own)
        other.execute("rollback")
    assert done.in_time
    assert done.ended == "600 rows that were locked or changed meanwhile stay, and nothing more is to prune"
    assert done.total == prune(own).total == 600


def test_held_up_until_its_time_is_over_it_has_failed(own: Settings, database: Database, tmp_path: Path) -> None:
    brief = own.model_copy(update={"prune_most_seconds": 0.5})
    with connect(database.owner) as other:
        other.execute("begin")
        other.execute("lock table panchangam_cache in share update exclusive mode")
        assert ops_here(brief, tmp_path, "cache", "prune", "--yes").code == 0, "there was nothing to do"
        expired(database, 20)
        ended = ops_here(brief, tmp_path, "cache", "prune", "--yes")
        other.execute("rollback")
    said = "othing could be deleted, and 20 rows that should go stay: 0.5 s are what one run may take"
    assert ended.code == 1
    assert f"N{said}" in " ".join(ended.err.split())
    assert f"n{said}" in " ".join(ended.out.split())
    assert left(database) == {"expired": 20}


def test_waiting_for_a_canary_counts_as_pausing(own: Settings, database: Database) -> None:
    expired(database, 20)
    brief = own.model_copy(update={"prune_most_seconds": 1.0})
    with connect(database.owner) as other:
        other.execute("begin")
        other.execute("lock table panchangam_cache in access exclusive mode")
        done = prune(brief)
        other.execute("rollback")
    assert done.in_vain
    assert done.stay is None
    assert done.ended.startswith("nothing could be deleted, and what should go stays: 1 s are ")
    assert list(done.pauses) == ["the canary query did not come back in time"]
    assert sum(done.pauses.values()) >= 2, "so long its patience is"


@pytest.mark.parametrize("command", ["prune", "status"])
def test_a_locked_table_is_one_sentence(own: Settings, database: Database, tmp_path: Path, command: str) -> None:
    with connect(database.owner) as other:
        other.execute("begin")
        other.execute("lock table panchangam_cache in access exclusive mode")
        with pytest.raises(DatabaseError, match=r"to itself\. To do: wait until it has finished; pg_locks names it\.$"):
            plan_prune(own)
        ended = ops_here(own, tmp_path, "cache", command)
        other.execute("rollback")
    assert ended.code == 1
    assert "What would go cannot be counted" in ended.err
    assert "LINE" not in ended.err


def test_what_the_log_has_yet_to_archive_pauses(settings: Settings) -> None:
    with scratch_server(archive_mode="on", archive_command="exit 1") as server, server.connect() as admin:
        migrate_up(server.dsn("postgres"), MIGRATIONS)
        database = Database(server.dsn("postgres"), server.dsn("ops_upkeep"), server.dsn("postgres"))
        expired(database, 20)
        admin.execute("grant select, update, delete on panchangam_cache to ops_upkeep")
        own = unlimited(settings, database.upkeep).model_copy(
            update={"prune_most_slot_bytes": 4 * 1024**2, "prune_most_seconds": 1.0}
        )
        admin.execute("select pg_logical_emit_message(false, 'ops', repeat('x', 5000000))")
        admin.execute("select pg_switch_wal()")
        wait_for(lambda: bool(rows(database.owner, "select from pg_stat_archiver where failed_count > 0")))
        paused = prune(own)
        assert paused.in_vain
        assert "MB of log wait for archiving, of 4.2 MB" in paused.ended
        admin.execute("alter system set archive_command = 'exit 0'")
        admin.execute("select pg_reload_conf()")
        admin.execute("select pg_switch_wal()")
        wait_for(lambda: bool(rows(database.owner, "select from pg_stat_archiver where archived_count > 0")), 30)
        assert prune(own.model_copy(update={"prune_most_seconds": 60.0})).total == 20
