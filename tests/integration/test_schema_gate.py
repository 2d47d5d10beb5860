"""The gate: what passes on an empty database and would hurt production is stopped on a copy of production."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr

from ops_workflows.errors import ConfigurationError, OpsError, RefusedError
from ops_workflows.postgres.connection import connect
from ops_workflows.repository.catalogue import open_repository
from ops_workflows.repository.rehearsals import RehearsalRecord, rehearsals
from ops_workflows.schema.apply import Terms, intend, migrate, migrate_up, remembered, status
from ops_workflows.schema.gate import Demand, Passed, pass_gate
from ops_workflows.schema.gate_record import GateStep, Outcome
from ops_workflows.schema.lint import lint
from ops_workflows.schema.plan import Position, back, upward
from ops_workflows.schema.rehearse import rehearse
from ops_workflows.schema.source import read_source
from ops_workflows.settings import Settings
from tests.support.schema import Database, own_database, rows, write

ROWS = 400_000
BASE = "create table orders (id int primary key, customer int not null, note text, amount numeric);"
FILL = f"""
    insert into orders select n, n / 2, case when n % 1000 > 0 then repeat(md5(n::text), 3) end, n
    from generate_series(1, {ROWS}) as n"""
TRAFFIC = """
-- sample: id
SELECT generate_series(1, 1000);

-- name: an order by its number
-- weight: 5
SELECT note, amount FROM orders WHERE id = %(id)s;

-- name: an order changes
-- weight: 1
UPDATE orders SET amount = amount + 1 WHERE id = %(id)s;
"""
SMOKE = "-- name: orders are there\n-- expect: true\nSELECT count(*) > 0 FROM orders;\n"


@dataclass(frozen=True)
class Trap:
    sql: str
    rule: str | None
    """By which squawk notices it; None where it cannot."""
    check: str
    """Of the rehearsal that fails."""
    said: str


TRAPS = {
    "a NOT NULL added to a table with NULLs": Trap(
        "alter table orders alter column note set not null;",
        "adding-not-nullable-field",
        "applies",
        "contains null values",
    ),
    "a type change that rewrites the table": Trap(
        "alter table orders alter column id type bigint;",
        "changing-column-type",
        "locks",
        "holds AccessExclusiveLock on public.orders, rewriting 1, for",
    ),
    "a unique index over duplicates": Trap(
        "create unique index orders_customer_idx on orders (customer);",
        "require-concurrent-index-creation",
        "applies",
        "could not create unique index",
    ),
    "a lock held for the whole of a long file": Trap(
        "alter table orders add column total numeric;\nupdate orders set total = amount;",
        None,
        "locks",
        "line 2, holds AccessExclusiveLock on public.orders, for",
    ),
    "a volatile default": Trap(
        "alter table orders add column token uuid not null default gen_random_uuid();",
        "adding-field-with-default",
        "locks",
        "holds AccessExclusiveLock on public.orders, rewriting 1, for",
    ),
}


@dataclass(frozen=True)
class Production:
    """A database with rows, its files, and what may be done to it."""

    settings: Settings
    database: Database
    folder: Path

    def write(self, **files: str) -> None:
        """Pending files, in the place of those that are pending."""
        for migration in status(self.database.owner, self.folder).application.pending:
            for path in self.folder.glob(f"{migration.version:06d}_*"):
                path.unlink()
        write(self.folder, **files)

    @property
    def position(self) -> Position:
        return status(self.database.owner, self.folder).application.position

    def up(self, demand: Demand | None = None) -> Passed:
        return pass_gate(self.settings, upward(), demand)

    def last_steps(self) -> dict[str, str]:
        _, gate = remembered(self.database.owner)
        assert gate is not None
        return {str(step["name"]): str(step["outcome"]) for step in gate.steps}


@pytest.fixture(scope="module")
def production(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    at = tmp_path_factory.mktemp("gate")
    (folder := at / "migrations").mkdir()
    (at / "traffic.sql").write_text(TRAFFIC)
    (at / "smoke.sql").write_text(SMOKE)
    with own_database(settings) as database:
        own = {"owner_dsn": database.owner, "upkeep_dsn": database.upkeep, "migrations_dir": folder}
        files = {"traffic_file": at / "traffic.sql", "smoke_file": at / "smoke.sql"}
        limits = {"migrate_most_lock_seconds": 0.25, "rehearsal_traffic_rate": 100.0}
        changed = replace_settings(settings, **own, **files, **limits)
        write(folder, up1=BASE, down1="drop table orders;")
        made = Production(changed, database, folder)
        first = made.up()
        assert [step.outcome for step in first.steps] == [
            Outcome.PASSED,
            *[Outcome.NOT_NEEDED] * 4,
            Outcome.PASSED,
            *[Outcome.NOT_NEEDED] * 2,
        ]
        with connect(database.owner) as connection:
            connection.execute(FILL.encode())
        yield made


def test_a_harmless_migration_passes_on_a_backup_that_the_gate_takes_itself(production: Production) -> None:
    up = "alter table orders add column colour text;"
    write(production.folder, up2=up, down2="-- ops: restores-data\nalter table orders drop column colour;")
    heard: list[GateStep] = []
    passed = pass_gate(production.settings, upward(), heard=heard.append)
    assert tuple(heard) == passed.steps
    assert {step.name: step.outcome for step in passed.steps} == {
        "order": Outcome.PASSED,
        "lint": Outcome.PASSED,
        "backup": Outcome.PASSED,
        "rehearsal": Outcome.PASSED,
        "approval": Outcome.NOT_NEEDED,
        "apply": Outcome.PASSED,
        "catalogue": Outcome.PASSED,
        "smoke": Outcome.PASSED,
    }
    assert production.position == Position(2)
    record = newest_rehearsal(production)
    assert {check.name: check.passed for check in record.checks} == {
        "as of": True,
        "data": True,
        "applies": True,
        "locks": True,
        "waits": True,
        "duration": True,
        "traffic": True,
        "smoke": True,
        "way back": True,
    }
    entries, gate = remembered(production.database.owner)
    assert (entries[-1].backup, entries[-1].rehearsal) == (record.backup_id, record.id)
    assert gate is not None
    assert gate.passed
    assert gate.finished_at
    assert next(step["name"] for step in gate.steps) == "order"
    assert list(production.settings.scratch.iterdir()) == []


def by_hand(production: Production, sql: str) -> None:
    with connect(production.database.owner) as connection:
        connection.execute(sql.encode())


def newest_rehearsal(production: Production) -> RehearsalRecord:
    return rehearsals(open_repository(production.settings))[-1]


@pytest.mark.parametrize("name", TRAPS)
def test_a_trap_passes_on_an_empty_database_and_is_stopped_by_the_gate(
    production: Production, settings: Settings, tmp_path: Path, name: str
) -> None:
    trap = TRAPS[name]
    production.write(up3=trap.sql)
    with own_database(settings) as empty:
        migrate_up(empty.owner, write(tmp_path, up1=BASE, up3=trap.sql))
        assert status(empty.owner, tmp_path).application.position == Position(3)
    found = {each.rule for each in lint([read_source(production.folder / "000003_step.up.sql")], 18)}
    assert (trap.rule in found) if trap.rule else not found

    production.write(up3=f"-- squawk-ignore-file\n{trap.sql}")
    before = production.position
    with pytest.raises(RefusedError, match="failed"):
        production.up()
    assert production.position == before
    record = newest_rehearsal(production)
    assert not record.passed
    failed = {check.name: check.finding for check in record.checks if check.passed is False}
    assert trap.said in failed[trap.check]
    assert production.last_steps() == {"order": "passed", "lint": "passed", "backup": "passed", "rehearsal": "failed"}


def test_what_destroys_something_needs_an_approval_of_exactly_this_plan(production: Production) -> None:
    production.write(up3="truncate outbox;", down3="select 1;")
    by_hand(production, "create table outbox (x int); insert into outbox values (1)")
    with pytest.raises(RefusedError, match=r"destroys .*000003_step\.up\.sql, line 1: truncate.*--approve") as raised:
        production.up()
    plan = intend(production.database.owner, production.folder, upward())
    assert plan.digest in str(raised.value)
    rehearsed = newest_rehearsal(production)
    with pytest.raises(RefusedError, match="0123456789abcdef is the approval of another plan"):
        production.up(Demand(approval="0123456789abcdef"))
    assert rows(production.database.owner, "select x from outbox") == [(1,)]
    passed = production.up(Demand(approval=plan.digest))
    assert {step.name: step.outcome for step in passed.steps}["approval"] is Outcome.PASSED
    assert rows(production.database.owner, "select x from outbox") == []
    assert newest_rehearsal(production).id == rehearsed.id, "a rehearsal of the very same plan counts"


def test_an_application_that_would_break_and_a_way_back_that_is_none_are_told(production: Production) -> None:
    """Renamed under the application's feet, with a way back that leaves a column."""
    up = "alter table orders rename column amount to price; alter table orders add column extra int;"
    production.write(up4=up, down4="alter table orders rename column price to amount;")
    record = rehearse(production.settings, upward())
    findings = {check.name: check.finding for check in record.checks if check.passed is False}
    assert findings.keys() == {"traffic", "way back"}
    assert 'UndefinedColumn: column "amount" does not exist' in findings["traffic"]
    assert "column public.orders.extra is unexpected" in findings["way back"]
    told = next(each for each in record.traffic if each.name == "an order by its number")
    assert told.failed_before == ""
    assert told.sent > 0


def test_a_promise_to_bring_rows_back_is_held_against_every_row(production: Production) -> None:
    up = "alter table orders rename column note to said;"
    down = "alter table orders rename column said to note; update orders set note = null where id = 7;"
    production.write(up4=up, down4=f"-- ops: restores-data\n{down}")
    findings = {
        check.name: check.finding for check in rehearse(production.settings, upward()).checks if not check.passed
    }
    assert "public.orders has its 400,000 rows, but their content differs" in findings["data"]
    production.write(up4=up, down4="-- ops: restores-data\nalter table orders add column note text;")
    record = rehearse(production.settings, upward())
    assert {check.name for check in record.checks if check.passed is False} == {"data", "way back"}
    assert not record.passed


def test_a_database_that_was_changed_by_hand_since_is_rehearsed_anew(production: Production) -> None:
    production.write(up4="alter table orders add column size int;", down4="alter table orders drop column size;")
    first = rehearse(production.settings, upward())
    assert first.passed, first.failures
    by_hand(production, "alter table orders add column by_hand int")
    production.up()
    again = newest_rehearsal(production)
    assert again.id != first.id
    assert "column public.orders.by_hand" in again.catalogue_before
    assert production.position == Position(4)


def test_what_a_killed_run_has_not_come_to_is_made_up_for(production: Production) -> None:
    """Killed behind its apply: nothing is pending, but nobody has compared and asked yet."""
    with connect(production.database.superuser) as connection:
        connection.execute(
            "update ops.migration_gates set passed = null, finished_at = null, steps = jsonb_path_query_array(steps, "
            '\'$[*] ? (@.name != "catalogue" && @.name != "smoke")\') '
            "where id = (select max(id) from ops.migration_gates)"
        )
    smoke = production.settings.smoke_file
    smoke.write_text(SMOKE.replace("true", "false"))
    with pytest.raises(RefusedError, match="orders are there"):
        production.up()
    smoke.write_text(SMOKE)
    production.up()
    assert production.last_steps()["catalogue"] == production.last_steps()["smoke"] == "passed"
    _, gate = remembered(production.database.owner)
    assert gate is not None
    assert gate.passed


def test_back_through_the_gate_and_past_it_with_a_reason(production: Production) -> None:
    down = intend(production.database.owner, production.folder, back(1))
    passed = pass_gate(production.settings, back(1), Demand(approval=down.digest, ungated="the bucket is on fire"))
    outcomes = {step.name: (step.outcome, step.said) for step in passed.steps}
    assert [name for name, (outcome, _) in outcomes.items() if outcome is Outcome.LEFT_OUT] == [
        *("lint", "backup", "rehearsal", "catalogue", "smoke")
    ]
    assert outcomes["rehearsal"][1] == "the bucket is on fire"
    assert production.position == Position(3)


def test_a_plan_that_has_changed_since_it_was_agreed_to_is_not_carried_out(production: Production) -> None:
    production.write(up4="create table a (x int);")
    agreed = intend(production.database.owner, production.folder, upward()).digest
    production.write(up4="create table b (x int);")
    with pytest.raises(RefusedError, match="another plan by now"):
        migrate(production.database.owner, production.folder, upward(), Terms(agreed=agreed))
    assert production.position == Position(3)


def test_without_a_bucket_nothing_is_done_and_the_way_on_is_said(production: Production) -> None:
    production.write(up4="create table a (x int);")
    away = replace_settings(production.settings, s3_endpoint_url="http://127.0.0.1:1", s3_attempts=1)
    with pytest.raises(OpsError):
        pass_gate(away, upward())
    assert production.position == Position(3)
    assert production.last_steps() == {"order": "passed", "lint": "passed", "backup": "failed"}


def replace_settings(settings: Settings, **changed: object) -> Settings:
    return Settings.model_validate(settings.model_dump() | changed)


def test_a_rehearsal_counts_for_the_limits_it_was_held_against(production: Production) -> None:
    production.write(up4="alter table orders add column kept_out int; select pg_sleep(1);")
    assert rehearse(replace_settings(production.settings, migrate_most_lock_seconds=60.0), upward()).passed
    with pytest.raises(RefusedError, match=r"On the copy.* holds AccessExclusiveLock on public\.orders"):
        production.up()


def test_a_copy_that_lacks_the_last_changes_is_none_to_rehearse_on(production: Production) -> None:
    production.write(up4="create table a (x int);", down4="drop table a;")
    alone = production.settings.model_copy(
        update={"backup_dsn": SecretStr("postgresql://ops_backup@127.0.0.1:1/postgres")}
    )
    record = rehearse(alone, upward())
    assert [check.name for check in record.checks if check.passed is False] == ["as of"]


def test_each_promise_is_tried_whatever_the_other_files_promise(production: Production) -> None:
    production.write(
        up4="create table a (x int);",
        down4="drop table a;",
        up5="update orders set note = 'gone' where id = 7;",
        down5="-- ops: restores-data\nselect 1;",
    )
    record = rehearse(production.settings, upward())
    found = {check.name: check.finding for check in record.checks if check.passed is False}
    assert found.keys() == {"data"}
    assert "content differs, back from 000005_step.up.sql" in found["data"]


@pytest.mark.parametrize(("name", "variable"), [("traffic_file", "OPS_TRAFFIC_FILE"), ("smoke_file", "OPS_SMOKE_FILE")])
def test_a_file_that_is_named_and_not_there_is_no_reason_to_look_at_less(
    production: Production, name: str, variable: str
) -> None:
    production.write(up4="create table a (x int);", down4="drop table a;")
    with pytest.raises(ConfigurationError, match=f"typo.sql is not there: correct {variable}"):
        rehearse(replace_settings(production.settings, **{name: "typo.sql"}), upward())
