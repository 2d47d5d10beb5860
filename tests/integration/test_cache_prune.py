"""The table of cached calculations is pruned bit by bit, gives way to everybody else, and loses nothing else."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from ops_workflows.cache.prune import Pruned, plan_prune, prune
from ops_workflows.errors import ConfigurationError, DatabaseError, RefusedError
from ops_workflows.local.stack import Stack
from ops_workflows.postgres.connection import connect
from ops_workflows.schema.apply import migrate_up
from ops_workflows.settings import Settings
from tests.support.cache import alive, expired, fill, left, unhindered
from tests.support.command import as_environment, ops_here
from tests.support.heard import Heard
from tests.support.schema import MIGRATIONS, Database, own_database, rows, wait_for
from tests.support.servers import HOST, free_port

_OTHERS = files("ops_workflows.cache").joinpath("others.sql").read_text().encode()
_PROGRAM = """
from ops_workflows.cache.prune import prune
from ops_workflows.settings import Settings
prune(Settings.read())
"""


@pytest.fixture(scope="module")
def database(settings: Settings) -> Iterator[Database]:
    with own_database(settings) as made:
        migrate_up(made.owner, MIGRATIONS)
        yield made


@pytest.fixture
def own(settings: Settings, database: Database) -> Settings:
    return unhindered(settings, database)


def in_background(own: Settings, heard: Heard) -> tuple[threading.Thread, list[Pruned]]:
    done: list[Pruned] = []
    thread = threading.Thread(target=lambda: done.append(prune(own, heard)))
    thread.start()
    return thread, done


def test_what_has_expired_goes_and_nothing_else(own: Settings, database: Database) -> None:
    expired(database, 5_000)
    alive(database, 700)
    fill(database, "unexpiring:", 300, "'infinity'", latitude=3)
    plan = plan_prune(own)
    assert (plan.expired, plan.unexpiring) == (5_000, 300)
    assert left(database) == {"expired": 5_000, "alive": 700, "unexpiring": 300}, "a plan deletes nothing"

    done = prune(own)
    assert done.rows == {"expired": 5_000, "unexpiring": 300}
    assert done.batches > 2
    assert done.row_bytes > 5_300 * 200
    assert done.ended == "nothing more to prune"
    assert left(database) == {"alive": 700}
    assert done.vacuum.startswith("vacuumed: ") or "old transaction" in done.vacuum
    assert done.after.vacuumed_at is not None
    assert prune(own).total == 0


def test_rows_that_the_original_schema_lets_live_for_ever_go_when_they_are_old(
    own: Settings, database: Database
) -> None:
    with connect(database.owner) as connection:
        connection.execute("alter table panchangam_cache alter expires_at drop not null")
    try:
        fill(database, "unexpiring:", 50, "null")
        assert prune(own.model_copy(update={"prune_unexpiring_days": 101.0})).total == 0
        assert prune(own.model_copy(update={"prune_unexpiring_days": 99.0})).rows["unexpiring"] == 50
    finally:
        with connect(database.owner) as connection:
            connection.execute("alter table panchangam_cache alter expires_at set not null")


def test_a_run_is_bounded_in_rows_and_the_next_goes_on(own: Settings, database: Database) -> None:
    expired(database, 2_500)
    bounded = own.model_copy(update={"prune_most_rows": 1_500})
    first = prune(bounded)
    assert first.total == 1_500
    assert "OPS_PRUNE_MOST_ROWS" in first.ended
    assert rows(database.superuser, "select min(expires_at) > now() - interval '1100 s' from panchangam_cache") == [
        (True,)
    ], "the oldest went first"
    assert prune(bounded).total == 1_000


def test_a_row_that_somebody_works_on_is_left_to_them(own: Settings, database: Database) -> None:
    expired(database, 1_200)
    with connect(database.owner) as other:
        other.execute("begin")
        other.execute("select from panchangam_cache where cache_key = 'expired:1200' for update")
        assert prune(own).total == 1_199
        # Renewed meanwhile, as the application does: nobody may take it for what it was.
        other.execute(
            "update panchangam_cache set expires_at = now() + interval '1 day' where cache_key = 'expired:1200'"
        )
        other.execute("commit")
    assert prune(own).total == 0
    assert left(database) == {"expired": 1}


def test_killed_in_the_middle_it_has_lost_nothing_and_the_next_run_goes_on(
    own: Settings, database: Database, tmp_path: Path
) -> None:
    expired(database, 40_000)
    alive(database, 500)
    # Batches so small that it cannot be through before it is killed.
    small = own.model_copy(update={"prune_batch_seconds": 0.0001})
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPS_")} | as_environment(small)
    command = [sys.executable, "-c", _PROGRAM]
    with subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.DEVNULL) as child:
        try:
            wait_for(lambda: left(database)["expired"] < 39_000, 30)
        finally:
            os.kill(child.pid, signal.SIGKILL)
        child.wait(10)
    between = left(database)
    assert between["alive"] == 500
    assert 0 < between["expired"] < 39_000
    assert prune(own).total == between["expired"]
    assert left(database) == {"alive": 500}


def test_it_rests_while_somebody_is_at_work(own: Settings, database: Database) -> None:
    expired(database, 3_000)
    brief = own.model_copy(update={"prune_duty": 0.001, "prune_most_seconds": 1.5})
    with connect(database.owner) as other:
        other.execute("begin")
        busy = prune(brief)
        other.execute("rollback")
    assert 0 < busy.total < 3_000
    assert "OPS_PRUNE_MOST_SECONDS" in busy.ended
    # What is idle for a second is no reason to rest; others of this server's users come and go.
    with connect(database.superuser, application_name="ops cache test") as looking:
        wait_for(lambda: looking.execute(_OTHERS).fetchone() == (False,), 30)


def test_two_at_once_are_one_too_many(own: Settings, database: Database) -> None:
    expired(database, 10)
    with connect(database.upkeep) as other:
        other.execute("select pg_advisory_lock(%s)", [0x6F70735F7072756E])
        with pytest.raises(RefusedError, match=r"Another pruning of t_\w+ is at work"):
            prune(own)
    assert left(database) == {"expired": 10}


def test_it_pauses_while_a_standby_lags_and_says_so(
    own: Settings, database: Database, stack: Stack, superuser: Callable[..., psycopg.Connection[Any]]
) -> None:
    expired(database, 1_500)
    heard = Heard()
    careful = own.model_copy(update={"prune_most_lag_bytes": 100_000})
    with superuser(stack.folder, "standby") as standby:
        standby.execute("select pg_wal_replay_pause()")
        try:
            wait_for(lambda: standby.execute("select pg_get_wal_replay_pause_state()").fetchall() == [("paused",)])
            alive(database, 2_000)  # which it does not get to see
            thread, done = in_background(careful, heard)
            wait_for(lambda: bool(heard.sentences))
            assert left(database)["expired"] == 1_500
        finally:
            standby.execute("select pg_wal_replay_resume()")
    thread.join(60)
    assert "Pruning pauses: the standby standby is " in heard.sentences[0]
    assert done[0].total == 1_500
    assert any("standby" in reason for reason in done[0].pauses)
    assert done[0].notes == [], "the role for upkeep sees the standbys"


def test_it_pauses_while_the_application_would_wait_and_ends_if_that_does_not_pass(
    own: Settings, database: Database
) -> None:
    expired(database, 20)
    impatient = own.model_copy(update={"prune_most_seconds": 1.0})
    with connect(database.owner) as other:
        other.execute("begin")
        other.execute("lock table panchangam_cache in access exclusive mode")
        heard = Heard()
        thread, done = in_background(impatient, heard)
        wait_for(lambda: bool(heard.sentences))
        assert heard.sentences == ["Pruning pauses: the canary query did not come back in time."]
        other.execute("rollback")
        thread.join(30)
    assert "OPS_PRUNE_MOST_SECONDS" in done[0].ended
    assert done[0].total == 0
    assert prune(impatient).total == 20


def test_it_pauses_for_a_vacuum_of_the_table_and_for_what_slots_keep(own: Settings, database: Database) -> None:
    expired(database, 20)
    brief = own.model_copy(update={"prune_most_seconds": 1.0})
    with connect(database.owner) as other:
        other.execute("begin")
        other.execute("lock table panchangam_cache in share update exclusive mode")
        done = prune(brief)
        other.execute("rollback")
    assert (done.total, list(done.pauses)) == (0, ["a vacuum, an ANALYZE or an index build works on the table"])
    with connect(database.superuser) as other:
        other.execute("select pg_create_physical_replication_slot('t_hoards', true)")
        try:
            other.execute("select pg_logical_emit_message(false, 'ops', repeat('x', 100000))")
            done = prune(brief.model_copy(update={"prune_most_slot_bytes": 10_000}))
        finally:
            other.execute("select pg_drop_replication_slot('t_hoards')")
    assert done.total == 0
    assert next(iter(done.pauses)).startswith("the slot ")
    assert "the last pause: the slot " in done.ended


def test_a_role_that_does_not_see_the_standbys_is_told_what_it_lacks(own: Settings, database: Database) -> None:
    expired(database, 20)
    with connect(database.superuser) as admin:
        admin.execute("revoke pg_read_all_stats from ops_upkeep")
        try:
            done = prune(own)
        finally:
            admin.execute("grant pg_read_all_stats to ops_upkeep")
    assert done.total == 20
    assert "run GRANT pg_read_all_stats TO that role" in done.notes[0]


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"password": "wrong"}, DatabaseError, "password authentication failed"),
        ({"port": 1}, DatabaseError, "To do: start the server"),
        ({"dbname": "postgres"}, ConfigurationError, "has no table public.panchangam_cache: migrate it"),
    ],
)
def test_what_is_wrong_is_one_sentence(own: Settings, given: dict[str, Any], error: type[Exception], said: str) -> None:
    dsn = make_conninfo(own.require("upkeep_dsn"), **given)
    with pytest.raises(error, match=said) as caught:
        prune(own.model_copy(update={"upkeep_dsn": SecretStr(dsn)}))
    assert "\n" not in str(caught.value)


def test_a_standby_is_refused(own: Settings, stack: Stack, superuser: Callable[..., psycopg.Connection[Any]]) -> None:
    with superuser(stack.folder, "standby") as standby:
        dsn = make_conninfo(own.require("upkeep_dsn"), port=standby.info.port)
    with pytest.raises(RefusedError, match="OPS_UPKEEP_DSN names a standby"):
        plan_prune(own.model_copy(update={"upkeep_dsn": SecretStr(dsn)}))


def test_a_person_sees_the_plan_first_and_says_yes(own: Settings, database: Database, tmp_path: Path) -> None:
    expired(database, 30)
    for arguments in (["--json"], ["--dry-run", "--json"]):
        shown = json.loads(ops_here(own, tmp_path, "cache", "prune", *arguments).out)
        assert (shown["applied"], shown["table"]["expired_rows"], shown["keys"]) == (False, 30, None)
    text = ops_here(own, tmp_path, "cache", "prune")
    assert "ops cache prune --yes" in text.out
    assert left(database) == {"expired": 30}
    both = ops_here(own, tmp_path, "cache", "prune", "--yes", "--dry-run")
    assert (both.code, "contradict" in both.err) == (1, True)
    done = json.loads(ops_here(own, tmp_path, "cache", "prune", "--yes", "--json").out)
    assert (done["applied"], done["table"]["expired_rows"]) == (True, 30)
    assert json.loads(ops_here(own, tmp_path, "cache", "status", "--json").out)["table"]["expired_rows"] == 0


def test_what_has_become_of_the_table_is_said_where_the_other_server_is_away(
    own: Settings, database: Database, tmp_path: Path
) -> None:
    expired(database, 30)
    away = own.model_copy(update={"redis_url": SecretStr(f"redis://{HOST}:{free_port()}/0")})
    ended = ops_here(away, tmp_path, "cache", "prune", "--yes", "--json")
    assert ended.code == 1
    assert "start it, or correct host and port in OPS_REDIS_URL" in ended.err
    said = json.loads(ended.out)
    assert (said["applied"], said["table"]["expired_rows"], said["keys"]) == (True, 30, None)
    assert "OPS_REDIS_URL" in said["error"]
