import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from ops_workflows.errors import ConfigurationError, DatabaseError, RefusedError
from ops_workflows.local.seed import seed
from ops_workflows.local.seed_rows import COLUMNS, Workload
from ops_workflows.local.traffic import traffic
from ops_workflows.local.traffic_tally import TrafficReport
from ops_workflows.postgres.connection import connect
from ops_workflows.schema.apply import migrate_to, migrate_up
from ops_workflows.schema.plan import NOTHING
from ops_workflows.settings import Settings
from tests.support.command import ops_here

ROOT = Path(__file__).parents[2]
MIGRATIONS = ROOT / "migrations"
ROLES = ROOT / "deploy/postgres/roles.sql"
BASE = datetime(2026, 3, 10, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Database:
    """A database of a test's own, with the roles of every other."""

    owner: str
    upkeep: str
    superuser: str


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    owner, upkeep, name = settings.require("owner_dsn"), settings.require("upkeep_dsn"), f"t_{secrets.token_hex(4)}"
    superuser = make_conninfo(owner, user="postgres", dbname=name)
    with connect(superuser, dbname="postgres") as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        try:
            with connect(superuser) as inside:
                inside.execute(ROLES.read_bytes())
            yield Database(make_conninfo(owner, dbname=name), make_conninfo(upkeep, dbname=name), superuser)
        finally:
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture
def migrated(database: Database) -> Database:
    migrate_up(database.owner, MIGRATIONS)
    return database


def rows(dsn: str, query: str) -> list[tuple[object, ...]]:
    with connect(dsn) as connection:
        return connection.execute(query.encode()).fetchall()


def counts(dsn: str) -> dict[str, int]:
    with connect(dsn) as connection:
        count = "select count(*) from {}"
        return {
            table: connection.execute(sql.SQL(count).format(sql.Identifier(table))).fetchall()[0][0]
            for table in COLUMNS
        }


def digest(dsn: str) -> list[tuple[object, ...]]:
    """A fingerprint of every table that is seeded."""
    each = [f"select '{table}', md5(string_agg(t::text, '' order by t::text)) from {table} t" for table in COLUMNS]
    return rows(dsn, " union all ".join(each))


def test_every_table_gets_the_rows_that_the_report_names(migrated: Database) -> None:
    heard: list[tuple[int, int]] = []
    report = seed(
        migrated.owner, rows=5000, seed=1, base=BASE, progress=lambda done, total: heard.append((done, total))
    )
    assert report.rows == Workload(1, 5000, BASE).counts == counts(migrated.owner)
    assert report.query_log_rows_per_second > 0
    assert heard == sorted(heard)
    assert heard[-1] == (sum(report.rows.values()),) * 2


def test_months_are_made_for_the_rows_so_that_none_lies_in_the_default_partition(migrated: Database) -> None:
    seed(migrated.owner, rows=2000, seed=1, base=BASE)
    filled = rows(migrated.owner, "select distinct tableoid::regclass::text from query_log order by 1")
    assert filled == [("query_log_2026_01",), ("query_log_2026_02",), ("query_log_2026_03",)]


def test_equal_seed_and_base_give_an_equal_database_and_another_seed_adds(
    migrated: Database, settings: Settings, tmp_path: Path
) -> None:
    seed(migrated.owner, rows=1000, seed=5, base=BASE)
    first = digest(migrated.owner)
    migrate_to(migrated.owner, MIGRATIONS, version=NOTHING)
    migrate_up(migrated.owner, MIGRATIONS)
    elsewhere = BASE.astimezone(timezone(timedelta(hours=5, minutes=30))).isoformat()
    typed = ("seed", "--rows", "1000", "--seed", "5", "--base", elsewhere)
    assert ops_here(pointed(settings, migrated), tmp_path, *typed).code == 0
    assert digest(migrated.owner) == first
    seed(migrated.owner, rows=1000, seed=6, base=BASE)
    assert counts(migrated.owner)["query_log"] == 2000


def test_the_same_seed_is_refused_a_second_time(migrated: Database) -> None:
    seed(migrated.owner, rows=500, seed=5)
    before = counts(migrated.owner)
    with pytest.raises(RefusedError, match="Seed 5 was loaded already"):
        seed(migrated.owner, rows=700, seed=5)
    assert counts(migrated.owner) == before


def test_an_interrupted_seed_leaves_nothing_and_can_be_repeated(migrated: Database) -> None:
    def interrupt(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        seed(migrated.owner, rows=20_000, seed=5, progress=interrupt)
    assert set(counts(migrated.owner).values()) == {0}
    seed(migrated.owner, rows=500, seed=5)


def test_the_fewest_rows_that_there_can_be(migrated: Database) -> None:
    assert seed(migrated.owner, rows=1, seed=1).rows["query_log"] == 1
    with pytest.raises(ConfigurationError, match="at least one"):
        seed(migrated.owner, rows=0, seed=2)
    with pytest.raises(ConfigurationError, match="time zone"):
        seed(migrated.owner, rows=1, seed=2, base=datetime(2026, 1, 1))  # noqa: DTZ001
    for year in (1, 9999):
        with pytest.raises(ConfigurationError, match="is not between 1970 and 2999"):
            seed(migrated.owner, rows=1, seed=2, base=datetime(year, 1, 1, tzinfo=UTC))


def test_without_a_schema_seed_and_traffic_say_what_to_do(database: Database, settings: Settings) -> None:
    with pytest.raises(RefusedError, match="ops migrate up"):
        seed(database.owner, rows=10, seed=1)
    with pytest.raises(RefusedError, match="ops migrate up"):
        traffic(pointed(settings, database), rate=10, seconds=1)


def pointed(settings: Settings, database: Database) -> Settings:
    """The settings, with the DSNs of a test's own database."""
    own = {"owner_dsn": SecretStr(database.owner), "upkeep_dsn": SecretStr(database.upkeep)}
    return settings.model_copy(update=own)


def test_three_seconds_of_traffic_read_write_and_beat(migrated: Database, settings: Settings) -> None:
    seed(migrated.owner, rows=1000, seed=1)
    heard: list[TrafficReport] = []
    report = traffic(pointed(settings, migrated), rate=100, seconds=3, report=heard.append)
    assert report.errors == {}
    assert 2.9 < report.seconds < 10
    assert 100 < report.reads + report.writes <= 301
    assert report.reads > report.writes > 10
    assert 0 < report.p50_ms <= report.p95_ms
    assert 2 <= len(heard) <= 5
    beats = rows(migrated.owner, "select count(*), bool_and(sender = 'traffic') from ops.heartbeat")
    assert beats == [(report.heartbeats, True)]
    assert report.heartbeats >= 2
    assert counts(migrated.owner)["query_log"] > 1000


def test_every_statement_of_the_mix_works_without_seeded_rows(migrated: Database, settings: Settings) -> None:
    report = traffic(pointed(settings, migrated), rate=400, seconds=2)
    assert report.errors == {}


def test_a_share_of_the_traffic_is_late_by_up_to_two_years(migrated: Database, settings: Settings) -> None:
    seed(migrated.owner, rows=100, seed=1)
    own = pointed(settings, migrated)
    before = counts(migrated.owner)["query_log"]
    report = traffic(own, rate=200, late=1, seconds=1)
    assert (report.reads, report.errors) == (0, {})
    assert counts(migrated.owner)["query_log"] == before + report.writes
    old = "select count(*) > 0 from query_log where created_at < now() - interval '6 months'"
    assert rows(migrated.owner, old) == [(True,)]
    assert traffic(own, rate=200, late=0.5, seconds=1).reads > 0
    with pytest.raises(ConfigurationError, match="from 0 to 1"):
        traffic(own, rate=200, late=1.5)


def test_traffic_is_what_the_file_says_and_the_projects_own_in_a_folder_without_one(
    migrated: Database, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own = pointed(settings, migrated)
    assert traffic(own, rate=100, seconds=1).reads > 0
    with pytest.raises(ConfigurationError, match=r"There is no other\.sql .* OPS_TRAFFIC_FILE"):
        traffic(own.model_copy(update={"traffic_file": Path("other.sql")}), rate=100, seconds=1)
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy/traffic.sql").write_text("-- name: all\n-- weight: 1\nDELETE FROM locations;\n")
    report = traffic(own, rate=100, seconds=1)
    assert (report.reads, report.errors) == (0, {})
    assert rows(migrated.owner, "select count(*) from locations") == [(0,)]


def test_traffic_comes_back_after_its_connections_were_cut(migrated: Database, settings: Settings) -> None:
    stop, heard = threading.Event(), list[TrafficReport]()
    cut = """
        select pg_terminate_backend(pid) from pg_stat_activity
        where application_name = 'ops traffic' and datname = current_database()"""

    def react(report: TrafficReport) -> None:
        heard.append(report)
        if report.heartbeats >= 1 and not report.errors:
            assert rows(migrated.superuser, cut) == [(True,), (True,)]
        recovered = report.reconnects and report.heartbeats > heard[0].heartbeats + 2
        if recovered and report.reads > heard[-2].reads:
            stop.set()

    report = traffic(pointed(settings, migrated), rate=100, seconds=30, stop=stop, report=react)
    assert stop.is_set()
    assert report.reconnects == 1
    assert set(report.errors) == {"AdminShutdown", "heartbeat AdminShutdown"}


def test_an_event_ends_traffic_without_an_end(migrated: Database, settings: Settings) -> None:
    stop = threading.Event()
    report = traffic(pointed(settings, migrated), rate=50, stop=stop, report=lambda _: stop.set())
    assert report.seconds < 5
    assert not [thread for thread in threading.enumerate() if thread.name == "heartbeat"]


def test_traffic_to_a_dead_server_is_refused_at_the_start(settings: Settings) -> None:
    nowhere = SecretStr("postgresql://x@127.0.0.1:1/x")
    with pytest.raises(DatabaseError, match="Connection refused"):
        traffic(settings.model_copy(update={"owner_dsn": nowhere}), rate=1, seconds=1)
    with pytest.raises(ConfigurationError, match="above zero"):
        traffic(settings, rate=0)
