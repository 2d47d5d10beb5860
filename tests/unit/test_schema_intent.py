"""The digest that a person approves of: of what is to be done, and of nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest

from ops_workflows.schema.files import read_migrations
from ops_workflows.schema.intent import Intent
from ops_workflows.schema.plan import Position, Step, plan_up
from ops_workflows.schema.resume import Rest
from ops_workflows.schema.source import read_source
from tests.support.schema import write


def intent(folder: Path, position: Position | None = None, *, done: int | None = None, database: str = "app") -> Intent:
    """What is to be done from a position, a half-done first step included."""
    migrations = read_migrations(folder)
    steps: list[Step] = plan_up(position or Position(), migrations)
    rest = None
    if done is not None:
        half, *steps = steps
        rest = Rest(half, read_source(half.script), entry=7, done=done)
    dirty = Position(migrations[0].version, dirty=True)
    at = position or Position()
    sources = tuple(read_source(step.script) for step in steps)
    return Intent("7", database, "public", dirty if rest else at, rest, tuple(steps), sources)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path, up1="select 1; select 2;", up2="select 3;", up3="select 4;", down3="select 5;")


def test_the_same_is_the_same_in_another_folder_too(folder: Path, tmp_path: Path) -> None:
    (other := tmp_path / "other").mkdir()
    write(other, up1="select 1; select 2;", up2="select 3;", up3="select 4;")
    assert intent(folder).digest == intent(folder).digest == intent(other).digest
    assert len(intent(folder).digest) == 16


def test_each_thing_that_matters_is_another_digest(folder: Path) -> None:
    plain, half = intent(folder), intent(folder, done=0)
    different = [
        plain,
        intent(folder, database="other"),
        replace(plain, system="8"),
        replace(plain, ledger="other"),
        replace(plain, position=Position(0)),
        replace(plain, position=replace(plain.position, dirty=True)),
        intent(folder, Position(1)),
        half,
        intent(folder, done=1),
        replace(plain, steps=plain.steps[:2], sources=plain.sources[:2]),
        replace(plain, steps=plain.steps[::-1], sources=plain.sources[::-1]),
    ]
    write(folder, up2="select 3; ")  # a blank is another content
    different.append(intent(folder))
    write(folder, up2="select 3;")
    (folder / "000002_step.up.sql").rename(folder / "000002_other.up.sql")
    different.append(intent(folder))
    assert len({each.digest for each in different}) == len(different)


def test_what_makes_no_difference_to_what_is_done_is_no_other_digest(folder: Path) -> None:
    plain, half = intent(folder), intent(folder, done=1)
    assert half.rest is not None
    later = replace(half, rest=replace(half.rest, entry=8))  # the number of the attempt
    (folder / "README.md").write_text("of no account")
    write(folder, down2="select 6;", down3="select 7;")
    assert intent(folder).digest == plain.digest
    assert later.digest == half.digest


def test_a_half_done_file_comes_first_and_the_steps_begin_behind_it(folder: Path) -> None:
    half = intent(folder, done=1)
    assert [source.path.name for source in half.files] == [f"00000{number}_step.up.sql" for number in (1, 2, 3)]
    assert (half.position, half.start, half.end) == (Position(1, dirty=True), Position(1), Position(3))
    nothing = replace(half, rest=None, steps=(), sources=(), position=Position(3))
    assert (nothing.files, nothing.start, nothing.end) == ((), Position(3), Position(3))
