"""Harmless migrations of a large table under traffic: nobody waits for long, and a kill at any point does no harm."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ops_workflows.postgres.connection import connect
from ops_workflows.postgres.inventory import schema
from ops_workflows.schema.apply import migrate_to, migrate_up, status
from ops_workflows.schema.mix import Mix, read_mix
from ops_workflows.schema.plan import Position
from ops_workflows.schema.replay import Replay, Told, replaying
from ops_workflows.settings import Settings
from tests.support.schema import Database, own_database, write

ROWS = 1_000_000
RATE = 200.0  # statements per second
FILES = {
    "up1": "create table accounts (id int primary key, balance int not null);",
    "up2": "alter table accounts add column note text;",
    "down2": "alter table accounts drop column note;",
    "up3": "alter table accounts add column kind text not null default 'plain';",
    "down3": "alter table accounts drop column kind;",
    "up4": "alter table accounts add constraint accounts_balance_check check (balance > -1000000) not valid;",
    "down4": "alter table accounts drop constraint accounts_balance_check;",
    "up5": "alter table accounts validate constraint accounts_balance_check;",
    "down5": "select 'it stays valid';",
    "up6": "create index concurrently accounts_balance_idx on accounts (balance);",
    "down6": "drop index accounts_balance_idx;",
    "up7": "alter table accounts add column closed_at timestamptz;",
    "down7": "alter table accounts drop column closed_at;",
}
BASE, INDEX, NEWEST = 1, 6, 7
MIX = """
-- sample: id
SELECT 1 + n * 997 FROM generate_series(0, 1000) n;

-- name: a balance is read
-- weight: 3
SELECT balance FROM accounts WHERE id = %(id)s;

-- name: a balance changes
-- weight: 2
UPDATE accounts SET balance = balance + 1 WHERE id = %(id)s;
"""
_PROGRAM = (
    "import sys; from pathlib import Path; from ops_workflows.schema.apply import migrate_up; "
    "migrate_up(sys.stdin.read(), Path(sys.argv[1]))"
)
_APPLIED = """
    select from ops.migration_history where ledger = 'public' and id > {since} and result = 'applied'
    having count(*) = {number}"""
_RUNS = "select from pg_stat_activity where state = 'active' and query ilike '{}%' and datname = current_database()"
_BUILDS = "select from pg_stat_progress_create_index where datname = current_database() and phase like '{}%'"
MOMENTS = {
    "behind the first file": _APPLIED.format(since="{since}", number=1),
    "behind the third file": _APPLIED.format(since="{since}", number=3),
    "while the rows are checked": _RUNS.format("alter table accounts validate"),
    "behind the check": _APPLIED.format(since="{since}", number=4),
    "while the index is built": _BUILDS.format("building index"),
    "while the index is compared with the table": _BUILDS.format("index validation"),
}


@dataclass(frozen=True)
class Place:
    """A database with a large table at the first version, and the files that lead on."""

    database: Database
    folder: Path
    mix: Mix

    def catalogue(self) -> dict[str, str]:
        with connect(self.database.superuser) as connection:
            return schema(connection)

    def require_done(self) -> None:
        """At the newest version, nothing half done, and no index that is not valid."""
        found = status(self.database.owner, self.folder)
        assert (found.application.position, found.drift) == (Position(NEWEST), ())


@pytest.fixture(scope="module")
def place(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder, mix = tmp_path_factory.mktemp("migrations"), tmp_path_factory.mktemp("mix") / "traffic.sql"
    mix.write_text(MIX)
    read = read_mix(mix)
    assert read is not None
    with own_database(settings) as database:
        migrate_to(database.owner, write(folder, **FILES), version=BASE)
        with connect(database.owner) as connection:
            connection.execute(f"insert into accounts select n, n % 1000 from generate_series(1, {ROWS}) n".encode())
            connection.execute("vacuum analyze accounts")
        yield Place(database, folder, read)


@pytest.fixture(scope="module")
def unharmed(settings: Settings, place: Place) -> dict[str, str]:
    """The catalogue after a run that nobody was in the way of."""
    with own_database(settings) as database:
        migrate_up(database.owner, place.folder)
        return Place(database, place.folder, place.mix).catalogue()


@pytest.fixture
def at_base(place: Place) -> Iterator[Place]:
    yield place
    migrate_to(place.database.owner, place.folder, version=BASE)


def during(replay: Replay) -> dict[str, Told]:
    """How the traffic fared, once each of its statements has been sent after the migration, too."""
    replay.span("after")
    assert replay.warm(15)
    spans = replay.spans
    return {f"{name}, {span}": told for span, found in spans.items() for name, told in found.items()}


def require_harmless(fared: dict[str, Told], settings: Settings) -> None:
    assert {name: told.first_error for name, told in fared.items() if told.errors} == {}
    assert len(fared) >= 4, "each of the statements was sent during and after it"
    longest = max(fared, key=lambda name: fared[name].longest_seconds)
    assert fared[longest].longest_seconds <= settings.migrate_most_lock_seconds, longest


def test_harmless_migrations_make_nobody_wait_or_fail(
    at_base: Place, unharmed: dict[str, str], settings: Settings
) -> None:
    with replaying(at_base.database.owner, at_base.mix, rate=RATE) as replay:
        replay.span("during")
        assert replay.warm(15)
        applied = migrate_up(at_base.database.owner, at_base.folder)
        fared = during(replay)
    assert [step.version for step in applied] == list(range(BASE + 1, NEWEST + 1))
    require_harmless(fared, settings)
    at_base.require_done()
    assert at_base.catalogue() == unharmed


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_any_point_under_traffic_the_next_run_ends_as_if_nothing_had_been(
    at_base: Place, unharmed: dict[str, str], settings: Settings, moment: str
) -> None:
    with replaying(at_base.database.owner, at_base.mix, rate=RATE) as replay:
        replay.span("during")
        assert replay.warm(15)
        kill_at(at_base, MOMENTS[moment])
        position = status(at_base.database.owner, at_base.folder).application.position
        assert BASE < position.version < NEWEST
        if moment.startswith("while the index"):
            assert position == Position(INDEX, dirty=True)
        applied = migrate_up(at_base.database.owner, at_base.folder)
        fared = during(replay)
    assert applied[-1].version == NEWEST
    require_harmless(fared, settings)
    at_base.require_done()
    assert at_base.catalogue() == unharmed


def kill_at(place: Place, condition: str) -> None:
    """Have a run killed as soon as a query gives a row; a moment that a busy machine has missed is tried again."""
    for _ in range(4):
        if was_killed_at(place, condition):
            return
        migrate_to(place.database.owner, place.folder, version=BASE)
    pytest.fail("it was through each time before that was seen")


def was_killed_at(place: Place, condition: str) -> bool:
    with (
        connect(place.database.superuser) as observer,
        subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(place.folder)], stdin=subprocess.PIPE, text=True
        ) as child,
    ):
        ((since,),) = observer.execute("select max(id) from ops.migration_history").fetchall()
        query, deadline = condition.format(since=since).encode(), time.monotonic() + 30
        try:
            assert child.stdin is not None
            child.stdin.write(place.database.owner)
            child.stdin.close()
            while not observer.execute(query).fetchall() and child.poll() is None:
                assert time.monotonic() < deadline, "it neither came to that nor to its end"
        finally:
            child.send_signal(signal.SIGKILL)
        return child.wait(10) == -signal.SIGKILL
