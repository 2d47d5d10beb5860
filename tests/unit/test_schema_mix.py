"""A mix of traffic: what its file may hold, and what is drawn from it."""

from collections import Counter
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from ops_workflows.errors import ConfigurationError
from ops_workflows.schema.mix import Asked, Mix, Pools, parse_mix, read_mix

SAMPLE = "-- sample: id\nSELECT id FROM users LIMIT 10;\n\n"
ONE = "-- name: one\n-- weight: 3\nSELECT 1;\n"


def asked(sql: str) -> str:
    return f"-- name: it\n-- weight: 1\n{sql}\n"


def test_a_file() -> None:
    text = f"-- All that matters.\n\n{SAMPLE}{ONE}" + asked("-- a remark: 5 %\nSELECT 2 -- inside\nWHERE a = %(id)s")
    assert parse_mix(text, "x") == Mix(
        "x",
        {"id": "SELECT id FROM users LIMIT 10"},
        [Asked("one", 3, "SELECT 1"), Asked("it", 1, "SELECT 2 -- inside\nWHERE a = %(id)s")],
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "needs the line"),
        ("SELECT 1", "needs the line"),
        (SAMPLE, "needs the line"),
        ("-- name: one\nSELECT 1", "needs the line"),
        ("-- name:\n-- weight: 1\nSELECT 1", "needs the line"),
        ("-- name: one\n-- weight: often\nSELECT 1", "needs the line"),
        ("-- name: one\n-- weight: 0\nSELECT 1", "needs the line"),
        (ONE + "-- weight: 3\nSELECT 3", "needs the line"),
        ("-- sample: two words\nSELECT 1;\n" + ONE, "needs the line"),
        (ONE + ONE, "x: two parts are called “one”"),
        (SAMPLE + SAMPLE + ONE, "x: two parts are called “id”"),
        (asked(""), "x: “it” is to be one statement"),
        (asked("SELECT 1; SELECT 2"), "x: “it” is to be one statement"),
        (asked("BEGIN"), "x: “it” is to be one statement"),
        (asked("SELECT 5 % 3"), "x: “it” has a single percent sign"),
        (asked("SELECT %(id)d"), "x: “it” has a single percent sign"),
        (SAMPLE + asked("SELECT %(ib)s"), "x: “it” draws from a sample ib that is not there"),
        ("-- sample: a\nSELECT %(a)s;\n" + ONE, "x: sample “a” draws from a sample itself"),
        (ONE.replace("one", "*/ DROP TABLE users; /*"), "neither /\\* nor \\*/"),
        (ONE.replace("one", "/*"), "neither /\\* nor \\*/"),
    ],
)
def test_what_cannot_be_right_is_refused_in_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        parse_mix(text, "x")


def test_a_percent_sign_is_written_twice_and_none_is_a_placeholder() -> None:
    (found,) = parse_mix(SAMPLE + asked("SELECT '%%(no)s' || %(id)s || '%%%%' || %(id)s"), "x").statements
    assert found.placeholders == ("id",)
    assert Asked("5 % of all", 1, "SELECT 1").tagged == "/* 5 %% of all */ SELECT 1"


@pytest.mark.parametrize(
    ("sql", "writes"),
    [
        ("SELECT 1", False),
        ("SELECT a FROM b FOR UPDATE", False),
        ("/* an UPDATE */ TABLE a", False),
        ("WITH a AS (SELECT 'DELETE') SELECT * FROM a", False),
        ("insert INTO a VALUES (1)", True),
        ("UPDATE a SET b = 1", True),
        ("WITH a AS (DELETE FROM b RETURNING *) SELECT * FROM a", True),
    ],
)
def test_whether_a_statement_writes_is_told_by_its_words(sql: str, writes: bool) -> None:
    assert Asked("it", 1, sql).writes is writes


def test_statements_are_drawn_by_weight_and_their_values_from_the_pools() -> None:
    mix = [Asked("often", 9, "SELECT %(a)s, %(b)s"), Asked("seldom", 1, "SELECT %(b)s")]
    pools = Pools(mix, {"a": [1, 2, 3], "b": []})
    drawn = list(islice(pools.draw(Random(1)), 5000))
    assert 4300 < Counter(statement.name for statement, _ in drawn)["often"] < 4700
    assert {values["a"] for statement, values in drawn if statement.name == "often"} == {1, 2, 3}
    assert all(values["b"] is None for _, values in drawn)
    assert [statement.name for statement, _ in pools.each(Random(1))] == ["often", "seldom"]


def test_no_file_is_no_mix(tmp_path: Path) -> None:
    assert read_mix(tmp_path / "traffic.sql") is None
    with pytest.raises(ConfigurationError, match="OPS_TRAFFIC_FILE"):
        read_mix(tmp_path)


def test_the_applications_own_reads_more_than_it_writes_and_its_weights_are_per_cent() -> None:
    mix = read_mix(Path("deploy/traffic.sql"))
    assert mix is not None
    assert sum(statement.weight for statement in mix.statements) == 100
    assert 25 <= sum(statement.weight for statement in mix.statements if statement.writes) <= 35
